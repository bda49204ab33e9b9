/*
 * Tokenizers equal to Hugging Face's: WordPiece (BERT, ERNIE) and byte-level BPE (RoBERTa, GPT-2),
 * read from tokenizer.json, vocab.txt, or vocab.json + merges.txt.
 *
 * A tokenizer is immutable after it was opened: any number of threads may use one at once. Every
 * function here may be called from any thread; an encoding belongs to one thread at a time.
 *
 * Text may be any bytes. A byte that is not part of valid UTF-8 counts as one code point U+FFFD.
 * Offsets are [begin, end) in code points of the source text (of the text or the pair, whichever
 * the token came from); special tokens added around the text have (0,0).
 */
#ifndef CLOZE_TEXT_TOKENIZER_H
#define CLOZE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

typedef struct tokenizer tokenizer;

typedef enum tokenizer_kind { TOKENIZER_WORDPIECE, TOKENIZER_BYTE_BPE } tokenizer_kind;

/* Tokens of a text: reusable growing storage, owned by the caller. Zeroed storage is a valid empty
 * encoding. Fields other than the two wants_ switches are read-only for the caller. */
typedef struct encoding {
    int32_t *ids;           /* (n) */
    int32_t (*offsets)[2];  /* (n,2) code points of the source; NULL unless wants_offsets */
    int32_t *token_types;   /* (n) 0 = text, 1 = pair; NULL unless wants_token_types */
    int32_t n;              /* tokens now */
    int32_t cap;            /* tokens there is room for */
    bool wants_offsets;     /* set before the first token is appended, or after encoding_clear */
    bool wants_token_types; /* the same */
} encoding;

void encoding_init(encoding *e, bool wants_offsets, bool wants_token_types);
void encoding_deinit(encoding *e);
void encoding_clear(encoding *e); /* n = 0, memory kept */

typedef struct tokenizer_options {
    int do_lower_case; /* 1 yes, 0 no, -1 = the model directory's own setting (WordPiece only) */
} tokenizer_options;

/* opts NULL = { -1 }. dir holds tokenizer.json, vocab.txt (WordPiece), or vocab.json + merges.txt
 * (byte-level BPE), with tokenizer_config.json, special_tokens_map.json and added_tokens.json where
 * they are. Missing or damaged files are CLOZE_ERR_MODEL with a line that says what to put where.
 */
cloze_status tokenizer_open(const char *dir, const tokenizer_options *opts, tokenizer **out,
                            cloze_error *err);

/* BertTokenizer's switches. strip_accents -1 follows do_lower_case. */
typedef struct wordpiece_settings {
    int do_lower_case;          /* 0 or 1 */
    int strip_accents;          /* -1, 0 or 1 */
    int tokenize_chinese_chars; /* 0 or 1 */
    int model_max_length;       /* 0 = none */
} wordpiece_settings;

/* A WordPiece tokenizer from the text of a vocab.txt (one token a line), with the special tokens
 * [PAD] [UNK] [CLS] [SEP] [MASK]. The text is copied. */
cloze_status tokenizer_create_wordpiece(const char *vocab, size_t n,
                                        const wordpiece_settings *settings, tokenizer **out,
                                        cloze_error *err);
void tokenizer_destroy(tokenizer *tok); /* NULL is accepted */

/* Appends the tokens of text[0..n) without special tokens around them. Special and added tokens
 * written in the text ([MASK]) are recognised as Hugging Face does. token_types get 0. */
cloze_status tokenizer_encode_text(const tokenizer *tok, const char *text, size_t n, encoding *out,
                                   cloze_error *err);

typedef enum tokenizer_truncation {
    TOKENIZER_LONGEST_FIRST, /* token by token from the longer sequence */
    TOKENIZER_ONLY_FIRST,
    TOKENIZER_ONLY_SECOND,
} tokenizer_truncation;

typedef struct tokenizer_encode_options {
    int max_length;                  /* 0 = none; special tokens count */
    tokenizer_truncation truncation; /* used when max_length > 0 */
    bool truncate_left;              /* drop from the beginning instead of the end */
} tokenizer_encode_options;

/* Appends text, or text and pair (pair NULL = none), with the special tokens of the model: BERT and
 * ERNIE [CLS] A [SEP] B [SEP], RoBERTa <s> A </s></s> B </s>, GPT-2 none, or what tokenizer.json
 * says. opts NULL = no truncation. A max_length that cannot be reached by the chosen truncation is
 * CLOZE_ERR_USAGE. */
cloze_status tokenizer_encode(const tokenizer *tok, const char *text, size_t n, const char *pair,
                              size_t pair_n, const tokenizer_encode_options *opts, encoding *out,
                              cloze_error *err);

/* tokenizer_encode of n texts on all cores; outs[i] is cleared first and must be initialised. */
cloze_status tokenizer_encode_batch(const tokenizer *tok, const char *const texts[],
                                    const size_t lens[], size_t n,
                                    const tokenizer_encode_options *opts, encoding outs[],
                                    cloze_error *err);

/* How many special tokens tokenizer_encode adds to one text, or to a pair. */
int32_t tokenizer_num_special(const tokenizer *tok, bool pair);

/* The special tokens of tokenizer_encode around A (and B) as a list: each part is a token id >= 0,
 * or TOKENIZER_PART_A / TOKENIZER_PART_B. parts has room for TOKENIZER_MAX_PARTS; types (may be
 * NULL) gets the token type of each part. Returns how many. */
#define TOKENIZER_PART_A (-1)
#define TOKENIZER_PART_B (-2)
#define TOKENIZER_MAX_PARTS 16
int32_t tokenizer_special_layout(const tokenizer *tok, bool pair,
                                 int32_t parts[TOKENIZER_MAX_PARTS],
                                 int32_t types[TOKENIZER_MAX_PARTS]);

/* Appends the text of ids to out, as Hugging Face's decode() does (WordPiece joins ##, and cleans
 * spaces before punctuation where the model's configuration has that). Ids outside the vocabulary
 * are left out. */
cloze_status tokenizer_decode(const tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
                              buf *out, cloze_error *err);

tokenizer_kind tokenizer_get_kind(const tokenizer *tok);
int32_t tokenizer_token_to_id(const tokenizer *tok, const char *token, size_t n); /* -1 = none */
/* Borrowed, NUL-terminated, lives as long as tok; NULL for an id without a token. */
const char *tokenizer_id_to_token(const tokenizer *tok, int32_t id);
/* One more than the largest id, added tokens included. */
int32_t tokenizer_vocab_size(const tokenizer *tok);
bool tokenizer_is_special(const tokenizer *tok, int32_t id);
/* True where a token continues the word before it (##x; for byte-level BPE, no leading space). */
bool tokenizer_is_continuation(const tokenizer *tok, int32_t id);

typedef struct tokenizer_special_ids {
    int32_t cls, sep, mask, pad, unk, bos, eos; /* -1 = the tokenizer has none */
} tokenizer_special_ids;
const tokenizer_special_ids *tokenizer_special(const tokenizer *tok); /* borrowed, lives as tok */

int32_t tokenizer_max_length(const tokenizer *tok); /* model_max_length; 0 = none stated */

/* Writes files into dir (made when missing) which transformers and tokenizer_open read back to the
 * same ids; files that were read from a directory are written byte for byte. */
cloze_status tokenizer_save(const tokenizer *tok, const char *dir, cloze_error *err);

#endif
