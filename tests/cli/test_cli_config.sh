#!/bin/sh
# Flags from files, flags of other people's scripts, and the forecast of a run.
. "$(dirname "$0")/tap.sh"

make_model
short='--max_seq_length 32 --model_name_or_path model --save_strategy no'

# a file of flags, and the command line over it
cat >flags.json <<END
{"data_dir": "$news", "max_steps": 2, "logging_steps": 1, "per_device_train_batch_size": 4,
 "model_name_or_path": "model", "max_seq_length": 32, "save_strategy": "no", "fp16": true}
END
works 'a file of flags' train --config flags.json --output_dir a --max_steps 3
has 'the command line wins' '^step 3: loss' err
has 'what means nothing here is told' '^warning: --fp16 changes nothing' err
works 'training_args.json is such a file' train --config a/training_args.json --output_dir b
same 'and gives the same model' a/model.safetensors b/model.safetensors
sed 's/"output_dir": "[ab]"/"output_dir": ""/' a/training_args.json >args_a
sed 's/"output_dir": "[ab]"/"output_dir": ""/' b/training_args.json >args_b
same 'and the same flags' args_a args_b
printf '{\n  "max_stepz": 3\n}\n' >typo.json
refuses 2 'typo.json:2:3: unknown flag --max_stepz; did you mean --max_steps?' train --config typo.json
refuses 2 'none.json' train --config none.json
refuses 2 'larger than the' train --config /dev/zero

# losses
# shellcheck disable=SC2086
works 'R-Drop, smoothing and weights' train --data_dir "$news" --output_dir c --max_steps 2 $short \
    --use_rdrop --hidden_dropout_prob 0.1 --label_smoothing_factor 0.1 --class_weights news_car=2
has 'weights are told' '^Class weights: news_agriculture 1, news_car 2' err
# shellcheck disable=SC2086
refuses 2 'did you mean "news_car"' train --data_dir "$news" --output_dir d $short --class_weights news_ca=2

# where events go, and whether
# shellcheck disable=SC2086
works 'no events' train --data_dir "$news" --output_dir e --max_steps 1 $short --report_to none
[ ! -e e/runs ]
verdict $? 'are written'
# shellcheck disable=SC2086
works 'events' train --data_dir "$news" --output_dir f --max_steps 1 $short --logging_dir logs/f
ls logs/f/events.out.tfevents.* >/dev/null
verdict $? 'go where they are sent'

# a loss that is no number: exit 7, what was good stays
run train --data_dir "$news" --output_dir h --max_steps 30 --learning_rate 10 --ppt_learning_rate 10 \
    --weight_decay 9 --max_grad_norm 0 --save_steps 1 --save_total_limit 1 --model_name_or_path model \
    --max_seq_length 32
equal 'a loss that is no number is exit 7' "$code" 7
has 'with the last good checkpoint' 'cloze train: .*non-finite.*/checkpoint-[0-9]* is whole and good\|the loss became .*is whole and good' err
good=$(sed -n 's|^cloze train: .* h/\(checkpoint-[0-9]*\) is whole and good.*|\1|p' err)
works 'from which one can predict' predict --model "h/$good" --input "$news/data.txt"
[ ! -e h/model.safetensors ]
verdict $? 'and no finished model'

# the forecast
works 'a forecast' inspect --model model --data_dir "$news" --max_seq_length 32 --max_steps 20 --do_train --do_eval
has 'memory' '^peak memory  *[0-9.]* MB'
has 'time' ' a step, .* in all'
works 'as JSON' inspect --model model --data_dir "$news" --max_seq_length 32 --json
has 'with the steps' '"max_steps": 90'
[ ! -e checkpoints ]
verdict $? 'nothing is written'
refuses 3 'no such directory' inspect --model model --data_dir nowhere
finish
