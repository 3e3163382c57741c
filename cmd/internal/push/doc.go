// Package push delivers files of records to the personal data stores of many
// members, through the bulk route of a PDX. It is the library behind
// `holdfast push` and knows nothing of the server but its wire format.
//
// # What it promises
//
//   - Each row of the input is delivered, or written to the rejects file with
//     its file, line and reason, or counted as not applicable because the map
//     says so (when_present). None is dropped in silence.
//   - The rows of one member arrive in the order of the input. A member belongs
//     to one lane, a lane has one request in flight, and lanes run side by side.
//   - A push that was interrupted at any point, kill -9 included, and is run
//     again with the same arguments continues at the first batch that was not
//     acknowledged. It repeats that batch with the same Idempotency-Key and the
//     same bytes, so a server that had taken it answers as before. The server
//     remembers a key for 24 hours; a push resumed later than that says so.
//   - No secret (client secret, token, Member Key) and no field value is logged
//     or put into an error. The rejects file does hold raw rows: it is created
//     with mode 0600.
//
// # Batches
//
// Batches are cut by what is in the input alone, never by time: the n-th
// connection met in the input belongs to lane n mod 8, and a lane's batch is
// its next Batch rows, or fewer if the body would pass 8 MiB. Within a batch
// the rows of one connection, dataset and instance form one section, of at most
// 20,000 rows and 896 KiB of values (the server's limit is 1 MiB sealed); where
// it is full the batch ends.
//
// Where a map takes the member from the folder, the file name or a constant,
// files of different members are read in turn, 2,000 rows each and eight at a
// time, so that lanes fill evenly. Otherwise files are read one after another.
//
// A push is named by SHA-256 over map, target, client id, batch size, and the
// names and contents of the inputs. Names count as far as a map can see them:
// moving a tree does not make another push of it. The name goes into every
// Idempotency-Key: without its state file a push that is repeated within 24
// hours is recognised by the server, and one that is repeated later appends.
//
// # State file
//
// JSON lines, mode 0600, appended and fsynced after every acknowledged batch:
//
//	{"push":"<hex>","version":1,"keys":"<digest of the keys file>","started":<unix seconds>}
//	{"lane":3,"seq":17,"sections":4,"rows":10000,"refused_sections":0,"refused_rows":0,
//	 "rejects":<bytes of the rejects file>,"unmapped":<its lines that are the map's>,"at":<unix seconds>}
//	{"done":true,"at":<unix seconds>}
//
// A line cut off by a crash is dropped when the file is opened. The rejects
// file is synced before the line that counts it; on resuming it is cut back
// to that length and grows again from there, so it holds nothing twice. The
// file is locked while a push runs.
//
// # Local times
//
// A local time that occurs twice (clocks go back) is its first occurrence,
// unless the row before it in the same file lies in the doubled hours too and
// is later than that: then it is the second. Times that repeat exactly stay
// equal, so an hourly series has both of its 02:00 at the first. A local time that never
// occurs (clocks go forward) is read with the offset before the change, so
// 02:30 becomes the instant of 03:30. So a file in order stays in order.
//
// # Result
//
// Summary.ExitCode is 0 when every row the map could map was accepted (rows
// in the rejects file included: they were reported), 3 when the server refused
// sections. Run fails with an error, exit code 1, when the push is incomplete.
package push
