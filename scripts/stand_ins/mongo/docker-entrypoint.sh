#!/bin/sh
# The official entry point's contract: as root it changes the user; a data folder that is empty gets the root user that
# MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD name (or the files in ..._FILE), before the server listens.
set -eu
case "${1:-}" in
    -*) set -- mongod "$@" ;;
esac
if [ "$1" = mongod ] && [ "$(id -u)" = 0 ]; then
    find /data/db /data/configdb ! -user 999 -exec chown 999:999 {} +
    exec setpriv --reuid=999 --regid=999 --clear-groups "$0" "$@"
fi
from_file() {
    eval "file=\${$1_FILE:-} value=\${$1:-}"
    if [ -n "$file" ] && [ -n "$value" ]; then
        echo "error: both $1 and $1_FILE are set (but are exclusive)" >&2
        exit 1
    fi
    if [ -n "$file" ]; then
        value=$(cat "$file")
    fi
    export "$1=$value"
    unset "$1_FILE"
}
from_file MONGO_INITDB_ROOT_USERNAME
from_file MONGO_INITDB_ROOT_PASSWORD
if [ -n "$MONGO_INITDB_ROOT_USERNAME" ] && [ "$1" = mongod ]; then
    set -- "$@" --auth
fi
exec "$@"
