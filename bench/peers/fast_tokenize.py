"""`tokenizers` in one batch call on all cores; --ids is a file of lines here."""
import common
from tokenizers import BertWordPieceTokenizer

a = common.parser().parse_args()
tokenizer = BertWordPieceTokenizer(a.model + "/vocab.txt", lowercase=True)
with open(a.ids, encoding="utf-8") as f:
    texts = [line.rstrip("\n") for line in f][:20000]


def run_slice():
    return len(tokenizer.encode_batch(texts))


run_slice()
common.serve(run_slice)
