#!/bin/sh
# What goes wrong outside: a disk that fills up while a checkpoint is written, a directory that is
# removed under a run, input that comes byte by byte, threads that do not come.
. "$(dirname "$0")/tap.sh"

make_model
head -n 12 "$news/train.txt" >train.txt
cut -f 1 train.txt >texts.txt

# train OUTPUT FLAGS...
train() {
    output=$1
    shift
    "$cloze" train --train_file train.txt --do_train --model_name_or_path model --output_dir "$output" \
        --max_seq_length 32 --per_device_train_batch_size 4 --logging_steps 1 "$@" >out 2>err </dev/null
}

train run --max_steps 3 --save_strategy steps --save_steps 1
verdict $? 'a run'
blocks=$(($(wc -c <run/model.safetensors) / 512 / 2))
(ulimit -f $blocks && train full --max_steps 3 --save_strategy steps --save_steps 1)
equal 'a checkpoint that the disk has no room for is exit 6' $? 6
has 'and one line that names the file' '^cloze train: full/checkpoint-1.tmp/model.safetensors: cannot write' err
set -- full/checkpoint-[0-9]*[0-9] full/model.safetensors
[ ! -e "$1" ] && [ ! -e "$2" ]
verdict $? 'and nothing that looks like a checkpoint'

run predict --model run --input texts.txt --json
cp out whole
dd if=texts.txt bs=1 2>/dev/null | "$cloze" predict --model run --input - --json >out 2>err
equal 'input byte by byte is read' $? 0
cmp -s out whole
verdict $? 'to the same answers'

run predict --model run --input texts.txt --json --num_threads 1
cp out one
for setting in OMP_THREAD_LIMIT=1 OMP_DYNAMIC=true; do
    env $setting "$cloze" predict --model run --input texts.txt --json --num_threads 2 >out 2>err
    cmp -s out one || cmp -s out whole
    verdict $? "fewer threads than asked for ($setting) leave out nothing"
done

"$cloze" train --train_file train.txt --do_train --model_name_or_path model --output_dir removed \
    --max_seq_length 32 --max_steps 600 --logging_steps 1 --save_strategy steps --save_steps 200 \
    >out 2>err </dev/null &
pid=$!
tries=0
while ! grep -q '^step 2:' err 2>/dev/null && [ $tries -lt 2000 ]; do
    sleep 0.01
    tries=$((tries + 1))
done
rm -rf removed 2>/dev/null # the run may be writing there
wait $pid
code=$?
if [ $code -eq 0 ]; then
    works 'a run whose directory was removed writes all it has to' eval --model removed --input train.txt
else
    equal 'a run whose directory was removed is exit 6' $code 6
    [ "$(grep -c '^cloze train: removed' err)" -eq 1 ]
    verdict $? 'and one line that names it'
fi
finish
