#!/bin/bash
# A new cluster with the password, user and database of the environment, and what lies in /docker-entrypoint-initdb.d; then the server.
set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
[ "$1" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /run/postgresql
  chown postgres:postgres "$PGDATA" /run/postgresql
  exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
export PGUSER=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$PGUSER}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  password=${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:?give POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE}")}
  initdb --no-sync -U "$PGUSER" --pwfile <(echo "$password") -A scram-sha-256 --auth-local trust > /dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=" -w start > /dev/null
  [ "$database" = postgres ] || psql -q -d postgres -c "CREATE DATABASE \"$database\""
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sql) echo "running $file"; psql -q -v ON_ERROR_STOP=1 -d "$database" -f "$file" ;;
      *.sh) echo "running $file"; . "$file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop > /dev/null
fi
exec "$@" -c listen_addresses='*'
