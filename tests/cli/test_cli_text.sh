#!/bin/sh
# tokenize, fill and inspect: outputs to the byte where they do not depend on weights.
. "$(dirname "$0")/tap.sh"

mkdir tiny
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' 今 天 很 好 he '##llo' , >tiny/vocab.txt
echo '{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}' >tiny/tokenizer_config.json

# a vocabulary alone is enough
works 'tokenize' tokenize --model tiny --text 'Hello, 今天'
equal 'tokens' "$(cat out)" '[CLS] he ##llo , 今 天 [SEP]'
works 'tokenize --json' tokenize --model tiny --text 'Hello, 今天' --json
equal 'ids, tokens and offsets' "$(cat out)" \
    '{"ids":[2,9,10,11,5,6,3],"tokens":["[CLS]","he","##llo",",","今","天","[SEP]"],"offsets":[[0,0],[0,2],[2,5],[5,6],[7,8],[8,9],[0,0]]}'
printf '今天\n\n"\t今\n' >lines.txt
"$cloze" tokenize --model tiny --json <lines.txt >out 2>err
verdict $? 'tokenize a file'
printf '%s\n' '{"ids":[2,5,6,3],"tokens":["[CLS]","今","天","[SEP]"],"offsets":[[0,0],[0,1],[1,2],[0,0]]}' \
    '{"ids":[2,3],"tokens":["[CLS]","[SEP]"],"offsets":[[0,0],[0,0]]}' \
    '{"ids":[2,1,5,3],"tokens":["[CLS]","[UNK]","今","[SEP]"],"offsets":[[0,0],[0,1],[2,3],[0,0]]}' >want
same 'a line for each line' out want
works 'an upper-case text' tokenize --model tiny --text Hello --do_lower_case false
equal 'is unknown without lower-casing' "$(cat out)" '[CLS] [UNK] [SEP]'

works 'inspect a vocabulary' inspect --model tiny
has 'its size' '^tokenizer  *wordpiece, 12 tokens$'
works 'inspect --prompt' inspect --model tiny --prompt 很好 --text 今天 --max_seq_length 8 --json
equal 'the keys of PaddleNLP' "$(cat out)" '{"input_ids": [2, 5, 6, 7, 8, 4, 3], "token_type_ids": [0, 0, 0, 0, 0, 0, 0], "position_ids": [0, 1, 2, 3, 4, 5, 0], "soft_token_ids": [0, 0, 0, 0, 0, 0, 0], "encoder_ids": [0, 0, 0, 0, 0, 0, 0], "masked_positions": [5], "parts": [{"kind": "cls", "part": -1, "begin": 0, "end": 1}, {"kind": "text", "part": 0, "begin": 1, "end": 3}, {"kind": "hard", "part": 1, "begin": 3, "end": 5}, {"kind": "mask", "part": 2, "begin": 5, "end": 6}, {"kind": "sep", "part": -1, "begin": 6, "end": 7}], "cut": 0}'
works 'inspect --prompt for people' inspect --model tiny --prompt 很好 --text 今天今天 --max_seq_length 7
has 'says what was cut' 'cut: 2 of 4 tokens left out: 今 天$'

make_model
works 'fill' fill --model model --text '今天[MASK][MASK]很好' --top_k 3
has 'a column for each mask' '^  mask 1  *mask 2'
equal 'a row for each candidate' "$(grep -c '%.*%' out)" 3
works 'fill --json' fill --model model --text '今天[MASK][MASK]很好' --top_k 2 --json
has 'the documented keys' '^{"text": "今天\[MASK\]\[MASK\]很好", "masks": \[\[{"token": "[^"]*", "id": [0-9]*, "probability": [0-9.e-]*}, {.*}\], \[{.*}\]\]}$'
printf '今[MASK]\n[MASK]天\n' | "$cloze" fill --model model --json >out 2>err
equal 'fill a pipe' "$(grep -c '"masks"' out)" 2
works 'inspect a model' inspect --model model --json
has 'its heads' '"heads": \["masked_lm"\]'

finish
