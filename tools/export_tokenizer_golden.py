#!/usr/bin/env python3
"""Writes tests/unit/text/fixtures: tiny tokenizers of every kind, and what Hugging Face's make of texts.

Each folder is a tokenizer as a model directory has it, with cases.json: token ids, token types and
offsets of texts and pairs with and without truncation, and decoded texts. The vocabularies and texts
are written here; the answers come from the `tokenizers` package. Needs: pip install tokenizers.
"""
import json
import os
import shutil
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "unit", "text", "fixtures")
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

TEXTS = [
    "", " ", "hello", "Hello, World!", "unaffable unwanted running", "It's the dog's bone; we'll see, don't they?",
    "今天天气很好", "这条新闻的主题是[MASK][MASK]。", "农村 abc依然123很!重视", "héllo Ünïcode naïve CAFÉ", "e\u0301a\u0308 \u0130stanbul",
    "a\tb\nc\r\nd", "a\u200bb\u00adc\ufeffd", "\u0001x\ufffdy", "  two  spaces   three ", "trailing   ", "\u3000全角\u3000空格\u00a0nbsp",
    "한국어 텍스트", "ひらがな カタカナ がぎ", "привет МИР", "ΣΊΣΥΦΟΣ", "ﬁne ﬀ ① ℃ ½ Ⅷ", "≠ ∉ U+226E≮", "豈更 \U0002f800", "\U00020000 \U0002b830 \U0002b930",
    "emoji 😀👍🏽 👨‍👩‍👧 end", "[CLS] x [SEP]", "[mask] [MASK][UNK]", "x[MASK]y", " [MASK] ", "<mask>", "a <mask> b", "a  <mask>  b<mask>",
    "<s>x</s>", "<|endoftext|>more", "x <|endoftext|>", "foo bar foobar FOO bar", "new-token newtoken NewToken xnewtokeny", "rst  end lst  lst",
    "1234567890", "12 345", "a1b2c3", "3.14159", "x" * 100, "x" * 101, "ab" * 70 + " ok", "w" * 45 + "hello" * 12, "aaaaaaaaaaaaaaaaaaaaaaa",
    "'s 't 're 've 'm 'll 'd 'S", "'''s", " '", "a'", "#@!%^&*()_+-=[]{}|;:'\",.<>/?`~", "¿qué? «sí» — “q” …", "١٢٣ ४५६", "\u0085a\u2028b\u2029c",
    "a\u0301\u0323b\u0323\u0301", "\U0001d165\U0001d16e", "q\u0300\u0301\u0302\u0303w", "\u1100\u1161\u11a8 각", "end\u0301", "\u0301start", "Zürich-Oerlikon",
    "dog, dog. Dog! DOG?", "the cat sat on the mat", "the the the", "\xa0", "\t", "ǅ ǲ ß ẞ Œ", "ѣ҃ ก็", "x\u2060y z\u061cw", "ab\u0007cd",
    "under_score snake_case", "don't/can't", "http://example.com/?q=1&r=2", "line one\nline two\n\nline four", "   leading", "a  b", "a \n b", "…。，、",
]
PAIRS = [("hello world", "the dog"), ("今天天气很好吗", "新闻主题"), ("a b c d e f g h", "i j k"), ("x", "the the the the the the"),
         ("", "b"), ("a", ""), ("a <mask> b", " c [MASK] d"), ("one two three four", "five six seven eight")]

WORDS = ("hello world the dog cat sat on mat un ##aff ##able ##want ##ed run ##ning new ##token test running café cafe naive it we see they "
         "don bone ##s 今天 istanbul привет мир 123 ##45 ##23 12 foo ##bar bar one two three four five six seven eight line end ab ##ab "
         "example com http under score snake case x ##xx zurich unicode ##code Hello World CAFÉ Ünïcode DOG").split()
CHARS = list("今天气很好这条新闻的主题是农村依然重视全角空格更豈丽") + list("。，、…—“”«»¿①℃½") + list("ﬁéïüöäñß") + list("한국어텍스트ᄒ") + \
    list("ひらがなカタカナ") + list("приветМИРσίυφοςΣ") + ["\U00020000", "\U0002b930", "😀", "👍"]
JAMO = list("\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165\u1110\u1166\u1109\u1173\u3099\u0306\u0301")


def wordpiece_vocab():
    ascii_chars = [chr(c) for c in range(33, 127)]
    tokens = SPECIALS + ascii_chars + ["##" + c for c in ascii_chars if c.isalnum()] + WORDS
    for c in CHARS + JAMO:
        tokens += [c, "##" + c]
    return list(dict.fromkeys(tokens))


def bert_tokenizer(vocab, **bert):
    tok = Tokenizer(models.WordPiece(dict(vocab), unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(**bert)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece(prefix="##")
    ids = dict(vocab)
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])])
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIALS])
    return tok


def train_bpe(specials):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=specials, show_progress=False, min_frequency=1,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator([" ".join(WORDS).replace("##", "")] * 3 + TEXTS, trainer)
    model = json.loads(tok.to_str())["model"]
    return model["vocab"], [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]


def byte_tokenizer(vocab, merges, roberta, prefix):
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tok.decoder = decoders.ByteLevel()
    if roberta:
        tok.post_processor = processors.RobertaProcessing(("</s>", vocab["</s>"]), ("<s>", vocab["<s>"]),
                                                          trim_offsets=True, add_prefix_space=prefix)
        tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<s>", "</s>", "<unk>", "<pad>")]
                               + [AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    else:
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
        tok.add_special_tokens([AddedToken("<|endoftext|>", normalized=False, special=True)])
    return tok


def custom_wordpiece(vocab, normalizer, pre_tokenizer, added=()):
    tok = Tokenizer(models.WordPiece(dict(vocab), unk_token="[UNK]", max_input_chars_per_word=20))
    tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizer
    tok.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    ids = dict(vocab)
    tok.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIALS])
    tok.add_tokens(list(added))
    return tok


def encoded(text, encoding, **extra):
    return {"text": text, **extra, "ids": encoding.ids, "types": encoding.type_ids, "offsets": [list(o) for o in encoding.offsets]}


def cases_of(tok):
    cases, decoded = [], []
    for text in TEXTS:
        encoding = tok.encode(text)
        cases.append(encoded(text, encoding))
        # Versions differ in whether an added token decodes to its content or its normalised content.
        if any(t.normalized and i in encoding.ids for i, t in tok.get_added_tokens_decoder().items()):
            continue
        for skip in (False, True):
            decoded.append({"ids": encoding.ids, "skip": skip, "text": tok.decode(encoding.ids, skip_special_tokens=skip)})
    cases += [encoded(a, tok.encode(a, b), pair=b) for a, b in PAIRS]
    for strategy in ("longest_first", "only_first", "only_second"):
        for side in ("right", "left"):
            for length in (7, 10):
                tok.enable_truncation(length, strategy=strategy, direction=side)
                for a, b in PAIRS:
                    extra = dict(pair=b, max_length=length, truncation=strategy, left=side == "left")
                    try:
                        cases.append(encoded(a, tok.encode(a, b), **extra))
                    except Exception:  # the package's own refusal: too short to be cut that far
                        cases.append({"text": a, **extra, "refused": True})
                if strategy != "only_second":
                    for text in TEXTS[:12]:
                        cases.append(encoded(text, tok.encode(text), max_length=length, truncation=strategy, left=side == "left"))
    tok.no_truncation()
    return {"encode": cases, "decode": decoded}


def write(name, tok, files):
    folder = os.path.join(OUT, name)
    os.makedirs(folder)
    for file, text in files.items():
        with open(os.path.join(folder, file), "w", encoding="utf-8", newline="\n") as f:
            f.write(text)
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
        cases = cases_of(tok)
        f.write('{"encode": [\n' + ",\n".join(json.dumps(c, ensure_ascii=True) for c in cases["encode"]) + '\n],\n"decode": [\n'
                + ",\n".join(json.dumps(c, ensure_ascii=True) for c in cases["decode"]) + "\n]}\n")


def write_json(name, tok, old_merges=False):
    root = json.loads(tok.to_str())
    if old_merges:  # as versions before 0.20 wrote them
        root["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in root["model"]["merges"]]
    write(name, tok, {"tokenizer.json": json.dumps(root, ensure_ascii=False)})


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    tokens = wordpiece_vocab()
    vocab = {t: i for i, t in enumerate(tokens)}
    text = "\n".join(tokens) + "\n"
    bert = dict(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    config = {"do_lower_case": True, "tokenizer_class": "BertTokenizer", "model_max_length": 512}
    write("bert_uncased", bert_tokenizer(vocab, **bert), {"vocab.txt": text, "tokenizer_config.json": json.dumps(config)})
    write("bert_cased", bert_tokenizer(vocab, **{**bert, "lowercase": False}),
          {"vocab.txt": text.replace("\n", "\r\n"), "tokenizer_config.json": json.dumps({**config, "do_lower_case": False})})
    odd = {**config, "strip_accents": False, "tokenize_chinese_chars": False, "mask_token": {"content": "[MASK]", "lstrip": False}}
    write("bert_accents", bert_tokenizer(vocab, **{**bert, "strip_accents": False, "handle_chinese_chars": False}),
          {"vocab.txt": text, "tokenizer_config.json": json.dumps(odd)})
    write_json("json_bert", bert_tokenizer(vocab, **{**bert, "strip_accents": True, "lowercase": False, "clean_text": False}))

    roberta_vocab, merges = train_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    merges_text = "#version: 0.2\n" + "".join("%s %s\n" % m for m in merges)
    files = {"vocab.json": json.dumps(roberta_vocab), "merges.txt": merges_text}
    for name, prefix in (("roberta", False), ("roberta_prefix", True)):
        state = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": prefix}
        write(name, byte_tokenizer(roberta_vocab, merges, True, prefix), {**files, "tokenizer_config.json": json.dumps(state)})
    write_json("json_roberta", byte_tokenizer(roberta_vocab, merges, True, True), old_merges=True)
    gpt2_vocab, gpt2_merges = train_bpe(["<|endoftext|>"])
    write("gpt2", byte_tokenizer(gpt2_vocab, gpt2_merges, False, False),
          {"vocab.json": json.dumps(gpt2_vocab, ensure_ascii=False),
           "merges.txt": "#version: 0.2\n" + "".join("%s %s\n" % m for m in gpt2_merges)})

    llama = byte_tokenizer(gpt2_vocab, gpt2_merges, False, False)
    llama.model = models.BPE(vocab=gpt2_vocab, merges=gpt2_merges, ignore_merges=True)
    llama.normalizer = normalizers.NFC()
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+")
    llama.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    write_json("json_split", llama)

    seq = normalizers.Sequence
    added = [AddedToken("newtoken", single_word=True, normalized=True), AddedToken("Foo Bar", normalized=True),
             AddedToken("lst", lstrip=True, normalized=False), AddedToken("rst", rstrip=True, normalized=False)]
    write_json("json_sequence", custom_wordpiece(
        vocab, seq([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(),
                    normalizers.Replace(Regex(r"\d{3,}"), "123"), normalizers.Replace("-", " ")]),
        pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]), added))
    write_json("json_punctuation", custom_wordpiece(
        vocab, seq([normalizers.NFC(), normalizers.Prepend("x")]),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous"),
                                 pre_tokenizers.Digits(individual_digits=False)])))
    for behavior in ("removed", "merged_with_next", "contiguous"):
        write_json("json_split_" + behavior, custom_wordpiece(
            vocab, normalizers.NFKC(), pre_tokenizers.Sequence([
                pre_tokenizers.CharDelimiterSplit(" "), pre_tokenizers.Split(Regex(r"[aeo\p{P}]"), behavior)])))
    write_json("json_invert", custom_wordpiece(
        vocab, normalizers.NFD(), pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+"), "removed", invert=True)))


if __name__ == "__main__":
    sys.exit(main())
