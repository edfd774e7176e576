#!/usr/bin/env bash
# Start a Ray head on this machine, submit a job to it as one does to a cluster, stop that head again.
#   infra/local/submit.sh python jobs/pretrain_kinetics.py --recipe demo --storage "$PWD/outputs"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$PWD/.venv/bin:$PATH" RAY_USAGE_STATS_ENABLED=0 PYTHONWARNINGS="${PYTHONWARNINGS:-ignore}"
home=$(mktemp -d "${RAY_TMPDIR:-/tmp}/ray.XXXXXXXX") # Ray's own folders are writable for all, so they lie in one of this user's
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' >"$home/token")
export RAY_TMPDIR="$home" RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$home/token"
unset RAY_AUTH_TOKEN # it would go before the file
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 # as there: one machine, on loopback; Ray would replace 127.0.0.1 by the host's address
export RAY_JOB_STOP_WAIT_TIME_S=60 # not 3: a job that is interrupted ends its MLflow runs and says what stays
export RAY_idle_worker_killing_time_threshold_ms=60000 # not 1000: the decoders of an epoch serve the next
export RAY_TRAIN_ENABLE_PREEMPTION_WATCHER=0 # no cloud takes this machine back

log="$home/ray.log"
read -r gcs dashboard agent client < <(python - <<'PY'
import socket
sockets = [socket.socket() for _ in range(4)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
)
setsid ray start --head --block --node-ip-address 127.0.0.1 --port "$gcs" --dashboard-host 127.0.0.1 \
    --dashboard-port "$dashboard" --dashboard-agent-listen-port "$agent" --ray-client-server-port "$client" \
    --include-dashboard true >"$log" 2>&1 &
head=$!
disown "$head" # otherwise bash writes a line if it has to be killed
stop() { # only this head, which is a process group of its own: `ray stop` would end every Ray of this user
    ended=$?
    kill -TERM -- "-$head" 2>/dev/null || true
    for _ in $(seq 20); do
        kill -0 -- "-$head" 2>/dev/null || break
        sleep 0.25
    done
    kill -KILL -- "-$head" 2>/dev/null || true
    rm -f "$home/token"
    if [ "$ended" = 0 ] || [ "$ended" -gt 128 ]; then rm -rf "$home"; else echo "Ray's logs: $home" >&2; fi
}
trap stop EXIT

# The job runs in Ray's copy of this folder, which has no .git: MLflow is told from here who runs which commit.
commit=$(git describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null || true)
git ls-files --error-unmatch pipeline/__init__.py >/dev/null 2>&1 || commit=""
environment=$(python - "$commit" "$(id -un 2>/dev/null || true)" <<'PY'
import json, os, sys
told = {"mlflow.source.git.commit": sys.argv[1], "mlflow.user": sys.argv[2]}
told = {name: value for name, value in told.items() if value} | json.loads(os.environ.get("MLFLOW_RUN_CONTEXT", "{}"))
known = {"MLFLOW_RUN_CONTEXT": json.dumps(told)}
if os.path.isdir(".venv/bin"):
    known["VIDEO_ACTIONS_BIN"] = ".venv/bin"  # for the commands that the job prints
print(json.dumps({"env_vars": known}))
PY
)

address="http://127.0.0.1:$dashboard" job="local-$$-$RANDOM" submitted=no
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
begin=$SECONDS
while ((SECONDS - begin < 180)); do # until the dashboard and its agent are up
    kill -0 "$head" 2>/dev/null || { echo "error: Ray did not start:" >&2; tail -n 20 "$log" >&2; exit 1; }
    answers "$dashboard" && answers "$agent" || { sleep 0.1; continue; }
    if ray job submit --address "$address" --submission-id "$job" --no-wait --working-dir . \
        --runtime-env-json "$environment" -- "$@" >"$log.job" 2>&1; then
        submitted=yes
        break
    fi
    grep -qE "No available agent|Failed to connect|Connection refused" "$log.job" || break
    sleep 1
done
[ "$submitted" = yes ] || { echo "error: the job could not be submitted:" >&2; tail -n 3 "$log.job" 2>/dev/null >&2 || tail -n 20 "$log" >&2; exit 1; }
echo "Ray job $job; dashboard on $address while it runs, with the token in $home/token"
interrupted() { # Ctrl-C and SIGTERM: the job ends in order and is heard to its end; the second time at once
    trap - INT TERM
    status=$((128 + $1))
    echo "interrupted: stopping the job; Ctrl-C again ends it at once" >&2
    ray job stop --address "$address" --no-wait "$job" >/dev/null 2>&1 || true
}
status=0
PYTHONUNBUFFERED=1 ray job logs --address "$address" --follow "$job" 2>&1 | # in the background it is deaf to Ctrl-C
    grep --line-buffered -vE '(cli|job_manager|sdk)\.py:[0-9]+ -- |^Running entrypoint for job ' & # Ray's own words
logs=$!
trap 'interrupted 2' INT
trap 'interrupted 15' TERM
while kill -0 "$logs" 2>/dev/null; do wait "$logs" || true; done
[ "$status" = 0 ] || exit "$status"
ended=$(ray job status --address "$address" "$job")
grep -q "succeeded" <<<"$ended" # not in a pipe: grep would close it, and Ray fail to say the rest
