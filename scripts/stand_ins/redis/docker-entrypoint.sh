#!/bin/sh
set -eu
case "${1:-}" in
    -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ]; then
    set -- "$@" --protected-mode no
    if [ "$(id -u)" = 0 ]; then
        find . ! -user 999 -exec chown 999:999 {} +
        exec setpriv --reuid=999 --regid=999 --clear-groups "$@"
    fi
fi
exec "$@"
