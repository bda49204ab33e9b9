#!/usr/bin/env python3
"""Writes src/text/unicode_exceptions.inc: where the `tokenizers` package and utf8proc disagree.

Asks the package about every code point, compares with libutf8proc, and prints the ranges for which
src/text/unicode.c must not believe utf8proc. Needs: pip install tokenizers; libutf8proc2.
Usage: tools/unicode_exceptions.py > src/text/unicode_exceptions.inc
"""
import ctypes
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

utf8proc = ctypes.CDLL("libutf8proc.so.2")
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
utf8proc.utf8proc_unicode_version.restype = ctypes.c_char_p
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATEGORY = {c: utf8proc.utf8proc_category_string(c).decode() for c in CODE_POINTS}
DECOMPOSE, COMPAT = 1 << 4, 1 << 2


def changed(normalizer):
    """Code points which the normalizer changes: {code point: [code points]}."""
    out = {}
    for c in CODE_POINTS:
        text = normalizer.normalize_str(chr(c))
        if text != chr(c):
            out[c] = [ord(x) for x in text]
    return out


def pieces(pre_tokenizer, guard, count):
    """Code points c for which guard+c+guard is cut into `count` pieces."""
    return {c for c in CODE_POINTS
            if len(pre_tokenizer.pre_tokenize_str(guard + chr(c) + guard)) == count}


def bert(**on):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **on})


def of_category(*prefixes):
    return {c for c in CODE_POINTS if CATEGORY[c].startswith(prefixes)}


def decomposition(c, options):
    buffer, last = (ctypes.c_int32 * 64)(), ctypes.c_int(0)
    n = utf8proc.utf8proc_decompose_char(c, buffer, 64, options, ctypes.byref(last))
    return list(buffer[:n])


def runs(values):
    out = []
    for c in sorted(values):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def print_table(name, ranges):
    cells = ["{0x%X, 0x%X}" % (a, b) for a, b in ranges]
    print("static const code_range %s[] = {" % name)
    line = "   "
    for cell in cells:
        if len(line) + len(cell) + 2 > 100:
            print(line)
            line = "   "
        line += " " + cell + ","
    print(line)
    print("};\n")


def print_both(name, theirs, ours):
    print_table(name + "_add", runs(theirs - ours) or [[0xFFFFFFFF, 0]])
    print_table(name + "_remove", runs(ours - theirs) or [[0xFFFFFFFF, 0]])


def main():
    print("/* Written by tools/unicode_exceptions.py (tokenizers %s against utf8proc with Unicode %s).\n"
          " * Do not edit. _add: the package has the property and utf8proc has not; _remove: the reverse. */\n"
          % (tokenizers.__version__, utf8proc.utf8proc_unicode_version().decode()))
    dropped = {c for c, t in changed(bert(clean_text=True)).items() if not t}
    print_both("control", dropped - {0, 0xFFFD}, of_category("Cc", "Cf", "Co") - {0, 9, 10, 13})
    symbols = {c for c in range(128) if chr(c).isprintable() and not chr(c).isalnum() and c != 32}
    print_both("punctuation", pieces(pre_tokenizers.BertPreTokenizer(), "a", 3),
               of_category("P") | symbols)
    accents = {c for c, t in changed(bert(strip_accents=True)).items() if not t}
    print_both("nonspacing", accents, of_category("Mn"))
    marks = {c for c, t in changed(normalizers.StripAccents()).items() if not t}
    print_both("mark", marks, of_category("M"))
    for name, pattern, ours in (("letter", r"\p{L}", of_category("L")), ("number", r"\p{N}", of_category("N"))):
        print_both(name, pieces(pre_tokenizers.Split(Regex(pattern), "isolated"), "\x01", 3), ours)
    print_both("numeric", pieces(pre_tokenizers.Digits(individual_digits=True), "a", 3), of_category("N"))
    print_both("word", pieces(pre_tokenizers.Whitespace(), "a", 1),
               of_category("L", "M", "Nd", "Nl", "Pc"))
    lower = changed(normalizers.Lowercase())
    wrong = [c for c in CODE_POINTS
             if lower.get(c, [c]) != [utf8proc.utf8proc_tolower(c)] and len(lower.get(c, [c])) == 1]
    ranges = []
    for c in wrong:
        delta = lower.get(c, [c])[0] - c
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == delta:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, delta])
    print("static const struct { uint32_t first, last; int32_t delta; } lower_delta[] = {")
    for a, b, delta in ranges:
        print("    {0x%X, 0x%X, %d}," % (a, b, delta))
    print("};\n")
    kept = [c for c, t in ((c, decomposition(c, DECOMPOSE | COMPAT)) for c in CODE_POINTS)
            if t != [c] and normalizers.NFKD().normalize_str(chr(c)) == chr(c)]
    print_table("compat_keep", runs(kept))


if __name__ == "__main__":
    sys.exit(main())
