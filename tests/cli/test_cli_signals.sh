#!/bin/sh
# Interruption: a checkpoint and exit 130; a waiting command ends at once.
. "$(dirname "$0")/tap.sh"

make_model

# start ARGUMENTS...: in the background, with $pid; sh leaves SIGINT ignored there, so SIGTERM it is
start() {
    "$cloze" "$@" >out 2>err &
    pid=$!
}

wait_for() { # PATTERN in err
    tries=0
    while ! grep -q "$1" err 2>/dev/null && [ $tries -lt 200 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
}

start train --data_dir "$news" --model_name_or_path model --output_dir stopped --max_steps 100000 \
    --logging_steps 1 --max_seq_length 32
wait_for '^step 2:'
kill -TERM $pid
wait $pid
equal 'training ends with 130' $? 130
has 'and one line' '^cloze train: interrupted at step' err
set -- stopped/checkpoint-*
[ $# -eq 1 ] && [ -f "$1/classifier.json" ] && [ -f "$1/optimizer.safetensors" ]
verdict $? 'and one whole checkpoint'
works 'that can be used' eval --model "$1" --input "$news/dev.txt" --json

# `timeout -s INT` and some job managers signal a process twice
start train --data_dir "$news" --model_name_or_path model --output_dir twice --max_steps 100000 \
    --logging_steps 1 --max_seq_length 32
wait_for '^step 2:'
kill -TERM $pid
kill -INT $pid 2>/dev/null
wait $pid
equal 'two signals at once end with 130' $? 130
has 'as one interruption, with a checkpoint' '^cloze train: interrupted at step' err

mkfifo in
exec 3<>in
cp -r "$1" shortened
: >out
start predict --model shortened --input in --json
echo 'before' >&3
tries=0
while [ ! -s out ] && [ $tries -lt 400 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
: >shortened/model.safetensors
echo 'after' >&3
wait $pid
equal 'a model that is written over while in use ends with 6' $? 6
has 'and one line' '^cloze: a file that is in use was shortened' err

# a writer that never writes
start tokenize --model model --input in
sleep 0.5
kill -TERM $pid
wait $pid
equal 'a command that waits for input ends with 130' $? 130
exec 3>&-
rm in
mkfifo in
for command in 'tokenize --model model --input in' 'train --model_name_or_path model --config in'; do
    start $command
    sleep 0.5
    kill -TERM $pid
    wait $pid
    equal "and one that waits for a writer: $command" $? 130
    has 'with one line' 'in: interrupted while it was opened$' err
done

finish
