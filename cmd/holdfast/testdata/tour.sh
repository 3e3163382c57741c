#!/usr/bin/env bash
# The tour of the README in one go: a fresh sandbox, a new organisation, a
# member's consent, and what the exchange allows and refuses. Needs curl.
# usage: tour.sh HOLDFAST-BINARY
set -euo pipefail
hf=$1
dir=$(mktemp -d)
trap 'kill $pid 2>/dev/null || true; wait $pid 2>/dev/null || true; rm -rf "$dir"' EXIT
umask 077
say() { printf '\n# %s\n' "$*"; }
field() { sed -E "s/.*\"$1\": ?\"?([^\",}]*).*/\1/" | head -1; }
"$hf" dev --data "$dir/data" --http 127.0.0.1:0 --world "$dir/world.json" --quiet --log-file "$dir/log" &
pid=$!
until [ -f "$dir/world.json" ]; do kill -0 $pid; read -rt 0.1 <> <(:) || true; done
PDX=$(grep -m1 '"pdx"' "$dir/world.json" | field pdx)
OP=$(grep -m1 '"operator"' "$dir/world.json" | field operator)
UID_=$(grep -m1 -A1 '"mydexid": "ada"' "$dir/world.json" | grep uid | field uid)
CATCH=$(grep -m1 '"callbacks"' "$dir/world.json" | field callbacks)
grep -m1 '"operator_token"' "$dir/world.json" | field operator_token >"$dir/op"
member() { "$hf" member "$1" --world "$dir/world.json" --mydexid ada --session "$dir/session" --server "$PDX" "${@:2}"; }

say "An organisation registers, makes a connection and offers an agreement"
"$hf" subscriber register --server "$PDX" --operator-token-file "$dir/op" --credentials "$dir/org.json" "Tour Homes" >/dev/null
"$hf" subscriber connection create --server "$PDX" --credentials "$dir/org.json" --name "Tour energy" --purpose "Show what your home uses" \
  --callback "${CATCH%/callbacks}/callback" --output "$dir/con.json" >/dev/null
NID=$(tr -d '\n' <"$dir/con.json" | field nid)
cat >"$dir/template.json" <<JSON
{"name":"Tour energy","purpose":"Show what your home uses","subscriber":"Tour Homes","law":"English law","environment":"sandbox","roles":"Tour Homes is controller of what it receives","use_cases":[{"category":"core_function","mandatory":true},{"category":"marketing","mandatory":false}],"gdpr":{"data_minimisation":true,"informed_consent":true,"transparency":true,"single_use":true,"data_portability":true},"terms_version":"1","declared_by":"Data lead","declared_at":1764000000,"retention":"A year","datasets":[{"dataset":"ds_energy_consumption","methods":["create","read"],"soft_delete":true,"fields":[{"field":"field_energy_reading_timestamp","mandatory":true},{"field":"field_energy_reading_value","mandatory":true},{"field":"field_energy_source_name","mandatory":false}]}]}
JSON
"$hf" subscriber template add --server "$PDX" --credentials "$dir/org.json" "$NID" "$dir/template.json" | head -1
CODE=$("$hf" subscriber invite --server "$PDX" --credentials "$dir/org.json" --json "$NID" | tr -d '\n' | field code)
ID=$(tr -d '\n' <"$dir/con.json" | field client_id); SECRET=$(tr -d '\n' <"$dir/con.json" | field client_secret)
TOKEN=$(printf 'user = "%s:%s"\n' "$ID" "$SECRET" | curl -sS -K - -d grant_type=client_credentials -d scope=mydex:pdx "$PDX/oauth2/token" | field access_token)
printf 'header = "Authorization: Bearer %s"\n' "$TOKEN" >"$dir/curl"
KEY=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
pdx() { # METHOD PATH DATASET [curl arguments]
  { cat "$dir/curl"; printf 'header = "Connection-Token: %s"\n' "$KEY"; } |
  curl -sS -g -K - -X "$1" -w '   [%{http_code}]\n' "$PDX/api/pds/transaction$2?uid=$UID_&con_id=$UID_-$NID&source_type=connection&dataset=$3&instance=0${5:-}" ${4:+-H 'Content-Type: application/json' -d "$4"}
}
row() { printf '{"field_energy_reading_timestamp":"%s","field_energy_reading_value":"%s"}' "$1" "$2"; }

say "Before the member approves: refused, and it says why"
pdx POST .json ds_energy_consumption "{\"ds_energy_consumption\":$(row 1764000000 230.50)}"

say "Ada reads the agreement as she would sign it, and approves with her Private Key"
member approve --yes --none "$CODE" | sed -n '1,200p'
for _ in $(seq 100); do KEY=$(curl -sS "$CATCH" | grep -o "connection_id=$UID_-$NID[^\"]*" | grep -oE 'key=[a-z2-7]{32}' | head -1 | cut -d= -f2 || true); [ -n "$KEY" ] && break; read -rt 0.1 <> <(:) || true; done

say "After: stored; three rows with one bad one are refused whole; a field outside the agreement is refused"
pdx POST .json ds_energy_consumption "{\"ds_energy_consumption\":[$(row 1764000000 230.50),$(row 1764000060 231),$(row 1764000120 228.75)]}"
pdx POST .json ds_energy_consumption "{\"ds_energy_consumption\":[$(row 1764000180 229),$(row 1764000240 no-number),$(row 1764000300 227)]}"
pdx POST .json ds_energy_consumption '{"ds_energy_consumption":{"field_energy_reading_value":"1","field_energy_source_name":"kitchen"}}'
pdx GET "/$UID_.json" ds_referrals ""

say "Read back, as JSON and as XML, and filtered by id"
pdx GET "/$UID_.json" ds_energy_consumption ""
pdx GET "/$UID_.xml" ds_energy_consumption ""
pdx GET "/$UID_.json" ds_energy_consumption "" "&filters[id][operator]=>=&filters[id][value]=3"

say "Ada revokes; the very next call is refused"
member revoke "$NID" | head -2
pdx GET "/$UID_.json" ds_energy_consumption ""

say "Her audit shows every one of these calls"
member audit --connection "$NID"

say "Her export verifies offline; a copy with one byte changed does not"
member export json -o "$dir/export.json" >/dev/null
"$hf" verify "$dir/export.json"
python3 - "$dir" 2>/dev/null <<'PY' || { cp "$dir/export.json" "$dir/bad.json"; printf X | dd of="$dir/bad.json" bs=1 seek=2000 conv=notrunc 2>/dev/null; }
import sys
b=bytearray(open(sys.argv[1]+'/export.json','rb').read()); b[len(b)//2]^=1; open(sys.argv[1]+'/bad.json','wb').write(b)
PY
"$hf" verify "$dir/bad.json" || echo "   [exit $?]"
