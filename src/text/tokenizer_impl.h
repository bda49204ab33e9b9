/*
 * Inside a tokenizer. Loading (load_*.c) fills the parts and calls tokenizer_finish; from then on
 * all of it is immutable but for two caches that are safe to share (code pages and BPE words).
 */
#ifndef CLOZE_TEXT_TOKENIZER_IMPL_H
#define CLOZE_TEXT_TOKENIZER_IMPL_H

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/vocab.h"
#include "text/wordpiece.h"

/* Special tokens around A (and B): token ids, TOKENIZER_PART_A, TOKENIZER_PART_B. */
typedef struct special_layout {
    int32_t n;
    int32_t parts[TOKENIZER_MAX_PARTS]; /* (n) */
    int32_t types[TOKENIZER_MAX_PARTS]; /* (n) */
} special_layout;

/* A file that the tokenizer came from, kept for tokenizer_save. */
typedef struct source_file {
    const char *name; /* static */
    char *data;       /* (n) owned */
    size_t n;
} source_file;
#define TOKENIZER_FILES 7

enum { ROLE_CLS, ROLE_SEP, ROLE_MASK, ROLE_PAD, ROLE_UNK, ROLE_BOS, ROLE_EOS, ROLE_COUNT };
extern const char *const tokenizer_role_keys[ROLE_COUNT]; /* "cls_token", ... */

enum { TOKEN_SPECIAL = 1, TOKEN_CONTINUES = 2 };

struct tokenizer {
    tokenizer_kind kind;
    vocabulary vocab; /* the model's, without added tokens */
    added_tokens added;
    added_search raw_search;        /* added tokens looked for in the text as it is */
    added_search normalized_search; /* and in the normalised text */
    normalizer normalizer;
    pretokenizer pretokenizer;
    wordpiece_model wordpiece;
    bert_scanner bert;
    bpe_model bpe;
    bool one_pass; /* bert_scan or the byte-level scan does the whole pipeline */
    special_layout single, pair;
    bool trim_offsets,
        trim_keeps_prefix; /* ByteLevel's and RobertaProcessing's handling of offsets */

    char *continuing_prefix; /* "##"; owned */
    bool decoder_cleanup;    /* the WordPiece decoder's */
    bool clean_up_spaces;    /* transformers' clean_up_tokenization_spaces */

    uint8_t *flags; /* (n_ids) TOKEN_* bits */
    int32_t n_ids;
    tokenizer_special_ids special;
    char *roles[ROLE_COUNT]; /* contents of the special tokens, NULL = none; owned */
    int32_t max_length;

    source_file files[TOKENIZER_FILES];
    int32_t n_files;
    char *class_name;       /* tokenizer_class that would read the files; owned */
    bert_switches switches; /* WordPiece by files: what tokenizer_config.json must say */
    int forced_lower_case;  /* the option do_lower_case when it was given, or -1 */
    bool add_prefix_space;
};

/* Makes searches, scanners, flags and special ids from the parts; the last step of loading. */
cloze_status tokenizer_finish(tokenizer *tok, cloze_error *err);

/* The general path: any normalizer and pre-tokenizer. text[0..n) is valid UTF-8 whose first code
 * point has the number base; appends its tokens. */
cloze_status encode_general(const tokenizer *tok, const char *text, size_t n, int32_t base,
                            encoding *out, cloze_error *err);
/* GPT-2's pattern and BPE straight on the bytes. */
cloze_status encode_byte_level(const tokenizer *tok, const char *text, size_t n, int32_t base,
                               encoding *out, cloze_error *err);
/* Takes the spaces that belong to tokens [begin, out->n) out of their offsets, where the model does
 * so. */
void trim_offsets(const tokenizer *tok, encoding *out, int32_t begin);

int32_t utf8_length(const char *text, size_t n); /* code points of valid UTF-8 */

#endif
