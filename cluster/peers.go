package cluster

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Message is one consensus message between two replicas of a shard.
type Message struct {
	Shard ShardID
	To    uint64 // replica
	Body  []byte // opaque to the transport
}

// Peers carries messages to the other replicas of this node's shards. Send must not
// block: what cannot be sent is dropped, and consensus sends it again. A node
// that is alone has none.
type Peers interface {
	Send(ms []Message)
}

func encodeMessages(dst []Message, out []outbound) []Message {
	for _, o := range out {
		body, err := proto.Marshal(o.msg)
		if err != nil {
			continue
		}
		dst = append(dst, Message{Shard: o.shard, To: o.msg.GetTo(), Body: body})
	}
	return dst
}

// Receive hands a peer's message to the host. It may be dropped.
func (h *Host) Receive(m Message) error {
	if m.Shard > Meta {
		return fmt.Errorf("cluster: message for shard %d", m.Shard)
	}
	pm := new(raftpb.Message)
	if err := proto.Unmarshal(m.Body, pm); err != nil {
		return fmt.Errorf("cluster: message of %d bytes cannot be decoded", len(m.Body))
	}
	h.in.receive(m.Shard, pm)
	return nil
}
