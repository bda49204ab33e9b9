#!/bin/sh
# Going on from a checkpoint, and what an output directory may hold: which flags go together, two
# runs in one directory, interruption at every stage, a full disk. (Same bytes after kill -9:
# test_cli_kill.sh.)
. "$(dirname "$0")/tap.sh"

make_model

ln -s "$news" news # the checkout's path may have blanks, and $small is split at blanks
small="--data_dir news --model_name_or_path model --max_seq_length 32 --num_threads 1 --logging_steps 2 \
    --save_steps 2"
# shellcheck disable=SC2086
train() { run train $small "$@"; }

timeless() { grep -v '_runtime"\|_per_second"\|best_model_checkpoint"\|"save_steps"' "$1"; }

# same_end NAME RUN RUN: the same weights and the same log
same_end() {
    timeless "$2/trainer_state.json" >want
    timeless "$3/trainer_state.json" >got
    cmp -s "$2/model.safetensors" "$3/model.safetensors" &&
        { [ ! -f "$2/prompt.safetensors" ] || cmp -s "$2/prompt.safetensors" "$3/prompt.safetensors"; } &&
        cmp -s want got
    verdict $? "$1"
}

# ---- going on ----

train --output_dir whole --max_steps 6
verdict $code 'six steps'
train --output_dir half --max_steps 4
cp -r half longer
train --output_dir longer --max_steps 6 --resume_from_checkpoint last
verdict $code 'four steps, then two more'
has 'another number of steps is told' '^warning: --max_steps is 6 now and was 4' err
has 'and where it goes on' '^Going on from longer/checkpoint-4 at step 4 of 6' err
works 'no flag but the checkpoint' train --resume_from_checkpoint half/checkpoint-4 --max_steps 6
same_end 'gives the same' longer half
rm -rf whole/checkpoint-6
works 'the last two steps once more' train --resume_from_checkpoint whole
[ -d whole/checkpoint-6 ]
verdict $? 'are written where the run is'
cp -r whole moved
rm -rf moved/checkpoint-6
works 'a moved run goes on' train --output_dir moved --resume_from_checkpoint true
same_end 'to the same end' whole moved
mkdir other
works 'into another directory' train --output_dir other --resume_from_checkpoint moved/checkpoint-2/
same_end 'to the same end too' whole other
cp moved/trainer_state.json finished
works 'a finished run' train --output_dir moved --resume_from_checkpoint last
same 'stays as it was' finished moved/trainer_state.json
train --output_dir plain --max_steps 1 --resume_from_checkpoint false
verdict $code '--resume_from_checkpoint false begins anew'

# ---- what does not go together ----

cut -f 2 "$news/train.txt" >labels
tac "$news/train.txt" >turned.txt
for flag in '--seed 7' '--learning_rate 1e-3' '--prompt 新' '--method finetune' '--max_seq_length 16' \
    '--per_device_train_batch_size 3' '--bf16' '--freeze_plm' '--warmup_steps 3' \
    '--model_name_or_path cloze-mini-zh' '--lr_scheduler_type cosine' '--verbalizer manual'; do
    name=${flag%% *}
    # shellcheck disable=SC2086
    refuses 2 "${name#--} is .*, but whole/checkpoint-6 was trained with" \
        train --output_dir whole --resume_from_checkpoint last $flag
done
refuses 4 'trained on other data' train --output_dir whole --resume_from_checkpoint last \
    --train_file turned.txt
refuses 4 'no checkpoint to go on from' train --output_dir whole --resume_from_checkpoint model
refuses 4 'no such directory' train --output_dir whole --resume_from_checkpoint nowhere
refuses 4 'no such directory' train --output_dir nowhere --resume_from_checkpoint last
[ ! -e nowhere ]
verdict $? 'nothing is made when nothing is found'
refuses 2 'newer than whole/checkpoint-2' train --output_dir whole \
    --resume_from_checkpoint whole/checkpoint-2
works 'unless what is newer is to go' train --output_dir whole --overwrite_output_dir \
    --resume_from_checkpoint whole/checkpoint-2 --save_steps 3
equal 'the newer ones went' "$(echo whole/checkpoint-*)" 'whole/checkpoint-2 whole/checkpoint-3 whole/checkpoint-6'
same_end 'and the end is the same' moved whole

# broken checkpoints
# broken NAME PATTERN COMMAND: what COMMAND does to b/checkpoint-4 is found
broken() {
    rm -rf b && cp -r longer b && rm -rf b/checkpoint-6
    (cd b/checkpoint-4 && eval "$2")
    refuses 4 "$1" train --output_dir b --resume_from_checkpoint last
}
broken 'cut short' 'head -c 9000 optimizer.safetensors >x && mv x optimizer.safetensors'
broken 'resume_state.json' 'rm resume_state.json'
broken 'resume_state.json:1:1' 'echo nonsense >resume_state.json'
broken 'train_data' 'sed "s/\"train_data\": \"./\"train_data\": \"x/" resume_state.json >x && mv x resume_state.json'
broken 'global_step' 'sed "s/\"global_step\": 4/\"global_step\": -4/" trainer_state.json >x && mv x trainer_state.json'
broken 'log_history' 'sed "s/log_history/log_histories/" trainer_state.json >x && mv x trainer_state.json'
broken 'data_position' 'sed "s/\"data_position\": 4/\"data_position\": 4000/" resume_state.json >x && mv x resume_state.json'
broken 'training_args.json' 'rm training_args.json'
cp b/checkpoint-2/optimizer.safetensors frozen.safetensors
train --output_dir frozen --max_steps 2 --freeze_plm
broken 'is trained now' 'cp ../../frozen/checkpoint-2/optimizer.safetensors .'

# ---- a directory with an earlier run ----

train --output_dir moved --max_steps 2
[ $code -eq 2 ] && grep -q -- '--resume_from_checkpoint last goes on' err && grep -q -- '--overwrite_output_dir' err
verdict $? 'checkpoints are not trained over'
same 'nor touched' finished moved/trainer_state.json
train --output_dir moved --do_train --do_predict --max_steps 2 --save_strategy no --overwrite_output_dir
verdict $code '--overwrite_output_dir removes them'
equal 'all of them' "$(echo moved/checkpoint-*)" 'moved/checkpoint-*'
train --output_dir moved --max_steps 3 --save_strategy no
[ $code -eq 0 ] && [ ! -e moved/predictions.txt ] && [ ! -e moved/test_results.json ]
verdict $? 'results without checkpoints are replaced, none of the old is left'

# ---- two runs in one directory ----

# start ARGUMENTS...: training without an end in the background, $pid
start() {
    rm -f started.err # wait_for must not find what an earlier one said
    # shellcheck disable=SC2086
    "$cloze" train $small --max_steps 100000 --save_strategy no "$@" >started.out 2>started.err </dev/null &
    pid=$!
}

# wait_for PATTERN [FILE]
wait_for() {
    tries=0
    while ! grep -q -- "$1" "${2:-started.err}" 2>/dev/null && [ $tries -lt 1500 ]; do
        sleep 0.02
        tries=$((tries + 1))
    done
}

start --output_dir busy
wait_for '^step 2:'
refuses 6 "busy is in use by process $pid on " train --data_dir "$news" --model_name_or_path model --output_dir busy
refuses 6 "in use by process $pid" train --do_predict --data_dir "$news" --output_dir busy \
    --resume_from_checkpoint longer
refuses 6 "in use by process $pid" pretrain --train_file raw.txt --output_dir busy
kill -9 $pid
wait $pid 2>/dev/null
[ -e busy/cloze.lock ]
verdict $? 'a killed process leaves its lock file'
train --output_dir busy --max_steps 1 --save_strategy no
verdict $code 'which locks nothing'
[ ! -e busy/cloze.lock ]
verdict $? 'and is gone at the end'

# ---- interruption ----

for signal in INT TERM; do
    start --output_dir stopped$signal
    wait_for '^step 2:'
    kill -$signal $pid
    wait $pid
    equal "SIG$signal ends with 130" $? 130
    has 'tells how to go on' '^cloze train: interrupted at step .*--resume_from_checkpoint last' started.err
done
set -- stoppedINT/checkpoint-*
refuses 3 'nowhere' train --do_eval --data_dir nowhere --output_dir e --resume_from_checkpoint stoppedINT
works 'a run that was stopped can be evaluated' train --do_eval --data_dir "$news" --output_dir e \
    --resume_from_checkpoint stoppedINT
has 'by its newest checkpoint' "^warning: stoppedINT holds no finished run: using its checkpoint $1" err
works 'or by its finished model' train --do_eval --data_dir "$news" --output_dir longer \
    --resume_from_checkpoint last
! grep -q checkpoint err
verdict $? 'when there is one'

# an evaluation that takes long is left, and done again
for i in 1 2 3 4 5 6 7 8; do cat "$news/test.txt" "$news/test.txt" "$news/test.txt" "$news/test.txt" "$news/test.txt"; done >long.txt
evaluating="--dev_file long.txt --do_train --do_eval --eval_steps 2 --max_steps 4 --logging_steps 1 \
    --load_best_model_at_end --per_device_eval_batch_size 1"
train $evaluating --output_dir evaluated
verdict $code 'a run with long evaluations'
start $evaluating --output_dir left --max_steps 4
wait_for '^step 2: loss'
kill -TERM $pid
wait $pid
equal 'is left in one of them' $? 130
has 'at that step' '^cloze train: interrupted at step 2; left/checkpoint-2 was written' started.err
works 'goes on' train --output_dir left --resume_from_checkpoint last
same_end 'to the same end, with the evaluation' evaluated left
start $evaluating --output_dir late --max_steps 4
wait_for '^Loading the best model'
kill -TERM $pid
wait $pid
equal 'the evaluation after training is left' $? 130
has 'with the model in place' '^cloze train: interrupted after .*the trained model is in late' started.err
cmp -s late/model.safetensors evaluated/model.safetensors
verdict $? 'which is whole'
start $evaluating --output_dir twice --max_steps 4
wait_for '^step 2: loss'
kill -TERM $pid
wait_for '^Interrupted: finishing cleanly'
sleep 0.3 # what comes sooner is the same interruption
kill -TERM $pid 2>/dev/null
wait $pid
equal 'a second signal ends at once, with 130' $? 130

# the same of pretrain
held="--train_file raw.txt --dev_file long.txt --hidden_size 32 --num_hidden_layers 1 --vocab_size 1500 \
    --num_attention_heads 2 --max_seq_length 32 --tokens_per_batch 64 --logging_steps 1 --max_steps 4 \
    --evaluation_strategy steps --eval_steps 2 --num_threads 1"
head -n 6000 long.txt | cut -f 1 >x && mv x long.txt
# shellcheck disable=SC2086
run pretrain $held --output_dir pretrained
verdict $code 'pretrain with long evaluations'
rm -f started.err
# shellcheck disable=SC2086
"$cloze" pretrain $held --output_dir left2 >started.out 2>started.err </dev/null &
pid=$!
wait_for '^step 2: loss'
kill -TERM $pid
wait $pid
equal 'is left in one of them' $? 130
has 'with a checkpoint' '^cloze pretrain: interrupted at step 2; left2/checkpoint-2 was written' started.err
works 'goes on' pretrain --output_dir left2 --resume_from_checkpoint last
same_end 'to the same end' pretrained left2

# ---- the disk is full ----

train --output_dir full --max_steps 6
cp -r full fullref
rm -rf full/checkpoint-4 full/checkpoint-6
(ulimit -f 400 && "$cloze" train --output_dir full --resume_from_checkpoint last >out 2>err </dev/null)
equal 'a file that may not grow ends with 6' $? 6
grep -q 'checkpoint-4.*the disk may be full.*checkpoint-2 is whole' err && [ "$(wc -l <err)" -gt 0 ]
verdict $? 'names the file and the last good checkpoint'
equal 'leaves nothing half written' "$(find full -name '*.tmp' | wc -l)" 0
works 'and goes on when there is room' train --output_dir full --resume_from_checkpoint last
same_end 'to the same end' fullref full

mkdir disk
if mount -t tmpfs -o size=1400k tmpfs disk 2>/dev/null; then
    trap 'umount -l disk; rm -rf "$here"' EXIT
    train --output_dir disk/run --max_steps 6 --save_steps 1
    equal 'a full disk ends with 6' $code 6
    has 'names the last good checkpoint' 'checkpoint-[12] is whole' err
    equal 'leaves nothing half written' "$(find disk -name '*.tmp' | wc -l)" 0
    mount -o remount,size=20m disk
    works 'goes on when there is room' train --output_dir disk/run --resume_from_checkpoint last
    same_end 'to the same end' fullref disk/run
else
    echo '# SKIP: a full disk needs root and mount'
    echo 'SKIP: a full disk (needs root and mount)'
fi

finish
