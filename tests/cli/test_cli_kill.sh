#!/bin/sh
# Kill -9 (and now and then SIGTERM) at random moments, resume, and the run ends with the same bytes as one that was left alone:
# weights, verbalizer, optimizer state, log and results (but for times). The models are so small and
# the checkpoints so many that most of the time is spent writing one.
#
#   sh test_cli_kill.sh PROGRAM     CLOZE_KILLS: how many kills (6)
. "$(dirname "$0")/tap.sh"

kills=${CLOZE_KILLS:-6}
here_abs=$PWD

make_model
# label words that the tiny vocabulary has, for a manual verbalizer
cut -f 2 "$news/train.txt" | sort -u >names
grep -v '^[[#]' model/vocab.txt | head -n "$(wc -l <names)" | paste -d = names - names |
    sed 's/=\([^=]*\)=.*/==\1/' >words.txt
# batches are of full size only where the last one may be short; a run of twelve steps
common="--data_dir '$news' --model_name_or_path '$here_abs/model' --output_dir run --max_seq_length 32 \
    --max_steps 12 --learning_rate 1e-3 --do_train --do_eval"

# The kinds of runs: what each must restore besides the weights.
n_kinds=6
arguments() { # KIND: the command line
    case $1 in
    0) echo "train $common --prompt 新闻 --label_smoothing_factor 0.1 --save_steps 1 --eval_steps 3 --logging_steps 5 \
        --gradient_accumulation_steps 2 --per_device_train_batch_size 4 --load_best_model_at_end \
        --num_threads 2" ;;
    1) echo "train $common --method finetune --bf16 --gradient_checkpointing --save_steps 2 \
        --save_total_limit 1 --logging_steps 3 --eval_steps 4 --load_best_model_at_end \
        --warmup_ratio 0.3 --lr_scheduler_type cosine --num_threads 1" ;;
    2) echo "train $common --prompt 新闻 --freeze_plm --save_steps 1 --early_stop --eval_steps 2 \
        --early_stopping_patience 3 --ppt_learning_rate 1e-2 --logging_steps 4 --num_threads 1" ;;
    3) echo "train $common --label_file '$here_abs/words.txt' --verbalizer manual --save_steps 1 --save_total_limit 2 \
        --per_device_train_batch_size 64 --eval_steps 2 --metric_for_best_model loss \
        --load_best_model_at_end --weight_decay 0.1 --num_threads 2" ;;
    4) echo "train $common --bf16 --use_rdrop --class_weights balanced --save_strategy epoch --per_device_train_batch_size 100 \
        --evaluation_strategy epoch --load_best_model_at_end --logging_steps 7 --num_threads 1" ;;
    5) echo "pretrain --train_file '$here_abs/raw.txt' --output_dir run --hidden_size 32 \
        --num_hidden_layers 1 --num_attention_heads 2 --vocab_size 1500 --max_steps 14 \
        --max_seq_length 32 --eval_lines 20 --tokens_per_batch 512 --gradient_accumulation_steps 2 \
        --save_steps 1 --logging_steps 5 --evaluation_strategy steps --eval_steps 4 \
        --learning_rate 1e-3 --num_threads 2" ;;
    esac
}

# in_dir DIRECTORY COMMAND-LINE...: runs the program there; the output goes to DIRECTORY/err
in_dir() {
    dir=$1
    shift
    (cd "$dir" && eval "exec '$cloze' $*" >out 2>>err </dev/null)
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

random_below() { # N
    number=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
    echo $((number % $1))
}

# Ends the program by a signal (KILL or TERM) at a random moment below LIMIT ms; fails when it had
# ended before.
kill_one() { # SIGNAL DIRECTORY LIMIT COMMAND-LINE...
    signal=$1 dir=$2
    delay=$(random_below "$3")
    shift 3
    (cd "$dir" && eval "exec '$cloze' $*" >out 2>>err </dev/null) &
    pid=$!
    sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
    kill -"$signal" $pid 2>/dev/null
    wait $pid 2>/dev/null
    status=$?
    case $signal in
    KILL) [ $status -eq 137 ] ;;
    TERM) [ $status -eq 130 ] || [ $status -eq 143 ] ;; # 143: before the program was up
    esac
}

# The newest complete checkpoint of a run, or nothing.
newest() { # DIRECTORY
    for path in "$1"/run/checkpoint-*[0-9]; do
        [ -d "$path" ] && echo "${path##*-}"
    done | sort -n | tail -n 1
}

# timeless FILE: without what tells times
timeless() { grep -v '_runtime"\|_per_second"' "$1"; }

# same_run A B: the first difference, or nothing
same_run() {
    for file in model.safetensors prompt.safetensors classifier.json config.json vocab.txt words.txt \
        template_config.json verbalizer_config.json; do
        [ -f "$1/run/$file" ] || [ -f "$2/run/$file" ] || continue
        cmp "$1/run/$file" "$2/run/$file" || return
    done
    for file in trainer_state.json all_results.json train_results.json eval_results.json \
        pretrain_results.json; do
        [ -f "$1/run/$file" ] || [ -f "$2/run/$file" ] || continue
        timeless "$1/run/$file" >want
        timeless "$2/run/$file" >got
        diff want got || return
    done
    [ "$(newest "$1")" = "$(newest "$2")" ] || echo "checkpoints differ: $(newest "$1") $(newest "$2")"
    for file in optimizer.safetensors model.safetensors; do
        last=run/checkpoint-$(newest "$1")/$file
        cmp "$1/$last" "$2/$last" || return
    done
    find "$2/run" -name '*.tmp' | head -n 1
}

# Goes on from the last checkpoint, or begins again where there is none yet.
command_after_kill() { # DIRECTORY KIND
    if [ -z "$(newest "$1")" ]; then
        arguments "$2"
    else
        line=$(arguments "$2")
        echo "${line%% *} --output_dir run --resume_from_checkpoint last"
    fi
}

# ---- runs that are left alone ----

kind=0
while [ $kind -lt $n_kinds ]; do
    mkdir "ref$kind"
    began=$(milliseconds)
    in_dir "ref$kind" "$(arguments $kind)"
    code=$?
    eval "took$kind=$(($(milliseconds) - began))"
    cp "ref$kind/err" err
    verdict $code "run $kind is left alone"
    kind=$((kind + 1))
done

# ---- and killed ----

point=0 killed=0 terminated=0 while_writing=0 again=0
while [ $killed -lt "$kills" ]; do
    kind=$((point % n_kinds)) dir=kill$point
    eval "limit=\$((took$kind + 50))"
    mkdir "$dir"
    line=$(arguments $kind) done_=0 here_killed=0 signal=KILL
    [ $((point % 5)) -ne 4 ] || signal=TERM
    while [ $here_killed -lt $((1 + point % 3)) ] && [ $killed -lt "$kills" ]; do
        if ! kill_one $signal "$dir" "$limit" "$line"; then
            # it was quicker than the clock: once more from the beginning
            [ $here_killed -gt 0 ] && { done_=1; break; }
            rm -rf "$dir" && mkdir "$dir"
            continue
        fi
        [ $signal = KILL ] || terminated=$((terminated + 1))
        killed=$((killed + 1)) here_killed=$((here_killed + 1))
        [ $here_killed -gt 1 ] && again=$((again + 1))
        if [ -n "$(find "$dir/run" -name '*.tmp' 2>/dev/null | head -n 1)" ]; then
            while_writing=$((while_writing + 1))
        fi
        line=$(command_after_kill "$dir" $kind)
    done
    code=0
    [ $done_ -eq 1 ] || in_dir "$dir" "$line" || code=$?
    same_run "ref$kind" "$dir" >out 2>&1
    cp "$dir/err" err
    [ $code -eq 0 ] && [ ! -s out ]
    verdict $? "run $kind, SIG$signal $here_killed times, ends with the same bytes"
    [ "$failed" -eq 0 ] && rm -rf "$dir"
    point=$((point + 1))
done
echo "# $killed kills ($terminated by SIGTERM), $while_writing of them while a file or checkpoint was written, $again of a resumed run"
# a handful of kills may miss the writing, twenty do not
[ $killed -lt 20 ] || [ $while_writing -gt 0 ]
verdict $? 'some kills came while a checkpoint was written'

finish
