#!/bin/sh
# A Ray worker's pod is about to end: take its node out of service, and give those who work on it time to save.
#
#   drain.sh SECONDS [NODE]        NODE: the node's id in hex; by default that of the raylet in this pod
#
# Ray starts nothing new on the node. A training hears of it as a notice of preemption (pipeline/training/README.md),
# writes a checkpoint after its current step, and goes on elsewhere once the pod is gone. The pod may go when nothing of
# Ray's works in it any more, at the latest after SECONDS; terminationGracePeriodSeconds must be longer.
set -eu
seconds=$1
node=${2:-$(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | sed -n 's/^--node_id=//p' | head -n 1)}
[ -n "$node" ] || { echo "drain.sh: no raylet runs here" >&2; exit 1; }
end=$(($(date +%s) + seconds))
ray drain-node --node-id "$node" --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "its pod ends" \
    --deadline-remaining-seconds "$seconds"

works() { # whether a process of Ray has a task or an actor; Ray writes what it does into its title
    for file in /proc/[0-9]*/cmdline; do
        title=$(tr '\0' ' ' 2>/dev/null <"$file") || continue
        case $title in
        ray::IDLE* | ray::DashboardAgent* | ray::RuntimeEnvAgent*) ;;
        ray::*) return 0 ;;
        esac
    done
    return 1
}
while [ "$(date +%s)" -lt "$end" ] && works; do sleep 1; done
