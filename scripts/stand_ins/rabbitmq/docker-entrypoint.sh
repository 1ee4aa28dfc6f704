#!/bin/sh
set -eu
if [ "$(id -u)" = 0 ]; then
    # A volume or a tmpfs that was just made is root's.
    chown 999:999 /var/lib/rabbitmq /var/log/rabbitmq
    find /var/lib/rabbitmq ! -user 999 -exec chown 999:999 {} +
    exec setpriv --reuid=999 --regid=999 --clear-groups "$0" "$@"
fi
exec "$@"
