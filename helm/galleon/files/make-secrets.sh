#!/bin/sh
# Makes the authority and the three secrets of a self-signed installation, once. The scheduler's secret is written last: where it
# is, everything is. Needs curl, and a service account that may create secrets and read and replace these.
set -eu
umask 077
service_account=/var/run/secrets/kubernetes.io/serviceaccount
url="https://kubernetes.default.svc/api/v1/namespaces/$NAMESPACE/secrets"
if [ -n "${KUBERNETES_API:-}" ]; then url="$KUBERNETES_API/api/v1/namespaces/$NAMESPACE/secrets"; fi

call() { # METHOD URL [BODY FILE] → the status
  set -- -sS -o "$work/answer" -w '%{http_code}' --max-time 30 -X "$1" ${3:+-H 'Content-Type: application/json' --data-binary "@$3"} "$2"
  if [ -f "$service_account/ca.crt" ]; then
    printf 'header = "Authorization: Bearer %s"\n' "$(cat "$service_account/token")" |
      curl --config - --cacert "$service_account/ca.crt" "$@"
  else
    curl "$@"
  fi
}

give_up() {
  echo "$1: the API server answered $2: $(head -c 300 "$work/answer")" >&2
  exit 1
}

put() { # SECRET FOLDER
  encode() { base64 -w 0 <"$1"; }
  printf '{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/tls","metadata":{"name":"%s","labels":{"app.kubernetes.io/instance":"%s"}},"data":{"ca.crt":"%s","tls.crt":"%s","tls.key":"%s"}}' \
    "$1" "$RELEASE" "$(encode "$work/tls/server/ca.pem")" "$(encode "$2/cert.pem")" "$(encode "$2/key.pem")" >"$work/body"
  status=$(call POST "$url" "$work/body")
  if [ "$status" = 409 ]; then status=$(call PUT "$url/$1" "$work/body"); fi
  case $status in
    200 | 201) echo "secret $1 is written" ;;
    *) give_up "secret $1 cannot be written" "$status" ;;
  esac
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=$(call GET "$url/$SCHEDULER_SECRET")
case $status in
  200) echo "secret $SCHEDULER_SECRET is there already; nothing is made"; exit 0 ;;
  404) ;;
  *) give_up "secret $SCHEDULER_SECRET cannot be read" "$status" ;;
esac
hosts=
for host in $HOSTS; do hosts="$hosts --host $host"; done
# shellcheck disable=SC2086
galleon admin init-tls "$work/tls" --days "$DAYS" $hosts >/dev/null
put "$AUTHORITY_SECRET" "$work/tls/authority"
put "$ADMIN_SECRET" "$work/tls/admin"
put "$WORKER_SECRET" "$work/tls/worker"
put "$SCHEDULER_SECRET" "$work/tls/server"
