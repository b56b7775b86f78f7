# Runs one PostgreSQL server on behalf of another process, and never outlives that
# process's interest in it: standard input is a pipe that the owner holds, and when it
# closes, however the owner ended, the server is stopped and the directory removed.
#
#   sh -c SCRIPT NAME DIR [option of postgres]...
#
# Commands, one a line: `use BIN` (where the programs are), `init`, `start PORT`. What came
# of them is left in files, since nobody may be there to read a pipe: init.status and
# server.status hold the exit status of initdb and of postgres, each once that has ended.

dir=$1
shift
cd "$dir" || exit 1
started=

# Publishes a status whole: the owner polls for the file and must not read half of it.
publish() {
    echo "$1" >"$2.partial" && mv "$2.partial" "$2"
}

running() {
    [ -n "$started" ] && [ ! -f server.status ]
}

stop() {
    "$bin/pg_ctl" stop -D data -m "$1" -t 10
}

finish() {
    trap '' HUP INT TERM
    # A server that has just been started writes its process id a moment later.
    tries=0
    while running && [ ! -s data/postmaster.pid ] && [ "$tries" -lt 100 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    if running; then
        stop fast || stop immediate || kill -KILL "$(head -n 1 data/postmaster.pid)"
        wait
    fi
    # After a kill, processes of the server that are still ending may add files.
    cd /
    for _ in 1 2 3 4 5; do
        rm -rf "$dir" && break
        sleep 0.2
    done
}

trap finish EXIT
trap exit HUP INT TERM

while read -r command argument; do
    case $command in
    use)
        bin=$argument
        ;;
    init)
        # Nothing is to survive a crash of the machine, so initdb need not sync.
        "$bin/initdb" -D data -U postgres -A trust -E UTF8 --locale=C --no-sync \
            </dev/null >init.log 2>&1
        publish "$?" init.status
        ;;
    start)
        rm -f server.status
        started=yes
        # A shell around the server reaps it at once, so that its process id is free
        # when it has ended, rather than when this loop next wakes.
        {
            "$bin/postgres" -D data -p "$argument" "$@" </dev/null >>server.log 2>&1
            publish "$?" server.status
        } &
        ;;
    esac
done
