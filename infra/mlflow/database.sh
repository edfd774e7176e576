#!/bin/sh
# The database of MLflow: save it to a folder, load a saved one beside it, let that take its place.
#
#   database.sh save FOLDER            write FOLDER/mlflow-TIME.dump, and delete those that are older than 30 days
#   database.sh list FOLDER            name those that are there, the newest last
#   database.sh check FOLDER [WHICH]   load one beside the database, count what it holds, and delete it again
#   database.sh load FOLDER [WHICH]    load one beside the database, and keep it; the server must be stopped
#   database.sh stopped                end with an error if a client is connected to the database, such as the server
#   database.sh switch                 let the loaded one take the database's place; the database is kept as NAME_TIME
#
# WHICH is `newest`, or the beginning of a TIME, which is in UTC: 2026-11-30 takes the last one of that day. PGHOST, PGUSER,
# PGPASSWORD and PGDATABASE name the database; it takes pg_dump, pg_restore and psql of its version or a newer one.
#
# Whatever ends `check`, `load` or `switch` too early, the database itself is as it was.
set -eu
umask 077 # a dump holds the hashes of the users' passwords
export PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-30}" PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning"

fail() { echo "error: $*" >&2; exit 1; }

sql() { # DATABASE: run what comes in; :'name', :'part', :'beside', :'kept' are names of databases
    psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --single-transaction \
        --set=name="$name" --set=part="$part" --set=beside="$beside" --set=kept="$kept" --dbname="$1" --file=-
}

chosen() { # FOLDER WHICH: the path of a dump
    case $2 in
    none) fail "no backup is chosen: name one (in Kubernetes mlflow.restore of values.yaml)" ;;
    newest) start= ;;
    *[!0-9TZ-]*) fail "$2: neither newest nor a time such as 2026-11-30 or 2026-11-30T021500Z" ;;
    *) start=$2 ;;
    esac
    dump=$(find "$1" -maxdepth 1 -name "mlflow-$start*.dump" | sort | tail -n 1)
    [ -n "$dump" ] || fail "$1: holds no mlflow-$start*.dump; \`database.sh list $1\` names those that are there"
    echo "$dump"
}

refuse_sessions() {
    for _ in 1 2 3; do # a server that has just been stopped is gone in a moment
        who=$(echo "SELECT string_agg(DISTINCT coalesce(host(client_addr), 'this machine'), ', ') FROM pg_stat_activity
            WHERE datname = :'name' AND backend_type = 'client backend'" | sql postgres)
        [ -n "$who" ] || return 0
        sleep 1
    done
    fail "the database $name is in use from $who: stop the MLflow server, or wait for a backup that runs"
}

load_part() { # DUMP: load it into a database of its own, which is deleted unless it is whole
    echo "loading $1 beside the database $name"
    dropdb --if-exists "$part" # of a try that was cut short
    createdb --template=template0 "$part"
    pg_restore --no-owner --exit-on-error --dbname="$part" "$1" || refuse "$1: cannot be read as a whole"
    found=$(echo "SELECT format('%s runs, %s metrics, %s registered models, %s users; tables of version %s',
        (SELECT count(*) FROM runs), (SELECT count(*) FROM metrics), (SELECT count(*) FROM registered_models),
        (SELECT count(*) FROM users), (SELECT version_num FROM alembic_version))" | sql "$part") ||
        refuse "$1: is not a database of MLflow"
    echo "it holds $found"
}

refuse() {
    dropdb "$part"
    fail "$*; the database $name is as it was; choose another backup"
}

verb=${1:-} folder=${2:-} which=${3:-newest}
name=${PGDATABASE:?names no database}
part="${name}_part" beside="${name}_loaded" kept="${name}_$(date -u +%Y%m%dt%H%M%S)"
case $verb in
save | list | check | load) [ -d "$folder" ] || fail "${folder:-FOLDER}: no such folder" ;;
stopped | switch) ;;
*) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

case $verb in
save)
    dump="$folder/mlflow-$(date -u +%Y-%m-%dT%H%M%SZ).dump"
    pg_dump --format=custom --file="$dump.part"
    mv "$dump.part" "$dump" # under its name only when it is whole
    find "$folder" -maxdepth 1 -name 'mlflow-*.dump' -mtime +30 -delete # once a new one is there
    find "$folder" -maxdepth 1 -name 'mlflow-*.dump.part' -mtime +1 -delete # of those that were cut short
    echo "the database $name is saved to $dump"
    ;;
list)
    find "$folder" -maxdepth 1 -name 'mlflow-*.dump' | sort
    ;;
check)
    dump=$(chosen "$folder" "$which")
    load_part "$dump"
    dropdb "$part"
    ;;
load)
    dump=$(chosen "$folder" "$which")
    refuse_sessions
    load_part "$dump"
    dropdb --if-exists "$beside" # of an earlier load
    echo "ALTER DATABASE :\"part\" RENAME TO :\"beside\"" | sql postgres
    echo "the database $name is as it was; \`database.sh switch\` puts the loaded one in its place"
    ;;
stopped)
    refuse_sessions
    ;;
switch)
    loaded=$(echo "SELECT count(*) FROM pg_database WHERE datname = :'beside'" | sql postgres)
    [ "$loaded" = 1 ] || fail "no database is loaded: \`database.sh load FOLDER\` comes first"
    refuse_sessions
    # Both or none; PostgreSQL itself refuses to rename a database that is in use.
    sql postgres <<'END' || fail "the database $name is as it was"
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'name') AS there \gset
\if :there
ALTER DATABASE :"name" RENAME TO :"kept";
\endif
ALTER DATABASE :"beside" RENAME TO :"name";
END
    echo "the loaded database is $name now; the one before it, if there was one, is kept as $kept: \`dropdb $kept\` deletes it"
    ;;
esac
