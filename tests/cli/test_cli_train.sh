#!/bin/sh
# Training, evaluation and prediction as a user runs them, on the shipped data with a tiny model.
. "$(dirname "$0")/tap.sh"

make_model

# the tutorial's commands, with fewer steps and the model named
works 'train by prompt' train --data_dir "$news" --output_dir ./checkpoints/ \
    --prompt "这条新闻标题的主题是" --max_seq_length 128 --learning_rate 3e-5 \
    --ppt_learning_rate 3e-4 --do_train --do_eval --max_steps 4 --eval_steps 2 --logging_steps 1 \
    --per_device_eval_batch_size 32 --per_device_train_batch_size 32 --model_name_or_path model
has 'a table of results' '^accuracy '
has 'steps on standard error' '^step 4: loss ' err
for file in model.safetensors config.json vocab.txt template_config.json verbalizer_config.json \
    prompt.safetensors training_args.json trainer_state.json train_results.json eval_results.json \
    all_results.json; do
    [ -s "checkpoints/$file" ] || break
done
verdict $? 'the files of a run'
works 'predict with --do_predict' train --do_predict --data_dir "$news" --output_dir ./predict_ckpt \
    --resume_from_checkpoint ./checkpoints --max_seq_length 128
equal 'a prediction for each line' "$(wc -l <predict_ckpt/predictions.txt)" 600
has 'with metrics' '"test_accuracy"' predict_ckpt/test_results.json
works 'train by fine-tuning' train --method finetune --dataset_dir "$news" --save_dir finetuned \
    --max_seq_length 128 --model_name model --batch_size 8 --learning_rate 3e-5 --max_steps 3 \
    --logging_steps 5

cut -f 1 "$news/test.txt" | head -n 20 >unlabelled.txt
works 'predict an unlabelled file' train --do_predict --test_file unlabelled.txt --output_dir labelled \
    --resume_from_checkpoint ./checkpoints
equal 'has no figures to show' "$(wc -c <out)" 0
equal 'and predictions' "$(wc -l <labelled/predictions.txt)" 20

# --json: the content of all_results.json and nothing else
works 'train --json' train --data_dir "$news" --output_dir json --max_steps 2 --do_train --do_eval \
    --model_name_or_path model --max_seq_length 32 --json
same 'it is all_results.json' out json/all_results.json

# the same seed: the same bytes
for n in 1 2; do
    run train --data_dir "$news" --output_dir seed$n --max_steps 3 --model_name_or_path model \
        --max_seq_length 32 --seed 7 --num_threads 2
done
same 'the same seed gives the same model' seed1/model.safetensors seed2/model.safetensors
same 'and the same verbalizer' seed1/prompt.safetensors seed2/prompt.safetensors
works 'train --profile_file' train --data_dir "$news" --output_dir measured --max_steps 3 \
    --model_name_or_path model --max_seq_length 32 --seed 7 --num_threads 2 --profile_file trace.json
has 'a table of the time' '^  linear_forward  *[0-9]*x32  *[0-9]' err
has 'and a trace' '"name": "adamw", "cat": "update", "ph": "X"' trace.json
same 'measuring changes no bit' seed1/model.safetensors measured/model.safetensors
run train --data_dir "$news" --output_dir seed3 --max_steps 3 --model_name_or_path model \
    --max_seq_length 32 --seed 8 --num_threads 2
! cmp -s seed1/model.safetensors seed3/model.safetensors
verdict $? 'another seed gives another model'

# checkpoints, the best model
works 'checkpoints' train --data_dir "$news" --output_dir best --max_steps 4 --save_steps 2 \
    --do_train --do_eval --eval_steps 2 --load_best_model_at_end --model_name_or_path model --max_seq_length 32
[ -f best/checkpoint-2/model.safetensors ] && [ -f best/checkpoint-4/optimizer.safetensors ]
verdict $? 'are there'
works 'a checkpoint can be evaluated' eval --model best/checkpoint-2 --input "$news/dev.txt"

# eval
works 'eval' eval --model checkpoints --input "$news/test.txt"
has 'accuracy' '^accuracy  0\.'
has 'per label' '^news_world .* 40$'
has 'confusion matrix' '^ 15 news_world '
works 'eval --json' eval --model checkpoints --input "$news/test.txt" --json
equal 'is one JSON object' "$(head -c 1 out)$(tail -n 1 out)" '{}'
has 'with the accuracy' '"eval_accuracy": 0\.'

# predict: a line for each line, in order, blank ones too
printf '第一行\n\n带\t标签\n最后一行，没有换行符' >lines.txt
works 'predict' predict --model checkpoints --input lines.txt
equal 'four lines' "$(wc -l <out)" 4
cut -f 1 out >texts
printf '第一行\n\n带\n最后一行，没有换行符\n' >want
same 'in order' texts want
works 'predict --json' predict --model checkpoints --input lines.txt --json
cp out predictions.jsonl
equal 'four objects' "$(grep -c '^{"text": ".*}}$' out)" 4
works 'valid JSON lines can be read back' predict --model checkpoints --input predictions.jsonl --json
same 'to the same answers' out predictions.jsonl
"$cloze" predict --model checkpoints --input - --json <lines.txt >piped 2>err
same 'standard input' piped predictions.jsonl
works '--output' predict --model checkpoints --input lines.txt --json --output 'an output.jsonl'
same 'writes the same' 'an output.jsonl' predictions.jsonl
equal 'and nothing to standard output' "$(wc -c <out)" 0
works '--batch_size 1' predict --model checkpoints --input lines.txt --batch_size 1
cut -f 2 out >labels1
run predict --model checkpoints --input lines.txt
cut -f 2 out >labels32
same 'gives the same labels' labels1 labels32

# an answer follows each line of a slow pipe
mkfifo in
"$cloze" predict --model checkpoints <in >slow 2>err &
exec 3>in
echo 国足今晚迎战韩国队 >&3
tries=0
while [ ! -s slow ] && [ $tries -lt 100 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
equal 'an answer while the pipe is open' "$(wc -l <slow)" 1
exec 3>&-
wait $!
verdict $? 'and a good end'

finish
