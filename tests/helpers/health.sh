#!/bin/sh
# A helper: stops all torrents while a probe fails, and starts all again when it has recovered. Two failures in a row are a
# fall, five successes in a row a rise, so that one that wavers changes nothing.
#   command = ["./health.sh", "5", "ping", "-c1", "10.0.0.1"]   (seconds between two probes, then the probe)
#   ack = false
rise=5 fall=2 every=$1 is_up=1 count=0
shift
while :; do
    if "$@" </dev/null >/dev/null 2>&1; then
        if [ $is_up = 1 ]; then count=0; else count=$((count + 1)); fi
        if [ $count = $rise ]; then
            is_up=1 count=0
            echo "# the probe has recovered"
            echo "start all"
        fi
    else
        if [ $is_up = 0 ]; then count=0; else count=$((count + 1)); fi
        if [ $count = $fall ]; then
            is_up=0 count=0
            echo "# the probe fails"
            echo "stop all"
        fi
    fi
    sleep "$every"
done
