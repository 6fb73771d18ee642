#!/bin/bash
# SLURM on one machine, to try a review on it: munged, slurmctld and slurmd, all state in one folder.
#
#   tools/slurm_up.sh up DIR     starts what is not up yet and prints the line that makes a shell use it
#   tools/slurm_up.sh down DIR   ends what this folder's instance started
#
# Needs root. Installs slurm-wlm and munge from Debian where they are absent. The system's own /etc/slurm and munge key
# are neither read nor changed. CPUS (default 8) is what the node claims to have: more jobs than cores may run.
set -euo pipefail

die() { echo "slurm_up: $1" >&2; exit "${2:-69}"; }

action=${1:-}
[[ $action == up || $action == down ]] && [[ -n ${2:-} ]] || die "usage: $0 up|down DIR" 2
mkdir -p "$2"
dir=$(cd "$2" && pwd)
conf=$dir/slurm.conf

alive() { [[ -s $1 ]] && kill -0 "$(cat "$1" 2>/dev/null)" 2>/dev/null; }

# The cluster's name holds the folder's: two instances never take each other for their own.
write_conf() {
    local host port
    host=$(hostname -s)
    port=$(python3 -c 'import socket; s = [socket.socket() for _ in range(2)]
for i in s: i.bind(("127.0.0.1", 0))
print(*(i.getsockname()[1] for i in s))')
    cat > "$conf" <<CONF
ClusterName=eco$(cksum <<< "$dir" | cut -d' ' -f1)
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${port% *}
SlurmdPort=${port#* }
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-8} RealMemory=${MEMORY_MB:-8000} State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

up() {
    [[ $(id -u) -eq 0 ]] || die "needs root"
    if ! { command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null; then
        command -v apt-get >/dev/null || die "slurm-wlm and munge are not installed, and this is no Debian"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            slurm-wlm munge; } >/dev/null || die "slurm-wlm and munge could not be installed"
    fi
    mkdir -p "$dir"/{state,spool,munge}
    chmod 755 "$dir" "$dir/munge"
    [[ -s $conf ]] || write_conf
    if ! alive "$dir/munge/pid"; then
        [[ -s $dir/munge/key ]] || { (umask 077; head -c 1024 /dev/urandom > "$dir/munge/key"); }
        munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
            --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" 2>>"$dir/munge/err" || die "munged: $dir/munge/err"
    fi
    export SLURM_CONF=$conf
    alive "$dir/slurmctld.pid" || slurmctld 2>>"$dir/slurmctld.log" || die "slurmctld: see $dir/slurmctld.log"
    alive "$dir/slurmd.pid" || slurmd 2>>"$dir/slurmd.log" || die "slurmd: see $dir/slurmd.log"
    for _ in $(seq 100); do
        [[ $(sinfo -h -o %t 2>/dev/null) == @(idle|mix|alloc) ]] && { echo "export SLURM_CONF=$conf"; return; }
        sleep 0.2
    done
    die "the node did not come up within 20 s: see $dir/slurmctld.log and $dir/slurmd.log"
}

down() {
    [[ -s $conf ]] && SLURM_CONF=$conf timeout 10 scancel -u "$(id -un)" 2>/dev/null || true
    for name in slurmd slurmctld munge/; do
        local pid=$dir/${name}pid
        [[ $name == munge/ ]] || pid=$dir/$name.pid
        alive "$pid" || continue
        # A daemon removes its file before it is gone.
        pid=$(cat "$pid")
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    done
}

$action
