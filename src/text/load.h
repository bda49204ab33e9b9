/* Loading a tokenizer from a directory: what the load_*.c files share. */
#ifndef CLOZE_TEXT_LOAD_H
#define CLOZE_TEXT_LOAD_H

#include "base/json.h"
#include "text/tokenizer_impl.h"

#define LOAD_MAX_FILE (256u << 20) /* largest tokenizer file read, in bytes */

typedef struct load_state {
    tokenizer *tok;
    const char *dir;     /* "" for a vocabulary in memory */
    cJSON *config;       /* tokenizer_config.json, or NULL */
    cJSON *special_map;  /* special_tokens_map.json, or NULL */
    cJSON *added;        /* added_tokens.json, or NULL */
    cJSON *model_config; /* config.json, or NULL */
} load_state;

/* Reads dir/name into tok->files, unless it is there already; *out NULL when it does not exist. */
cloze_status load_keep_file(load_state *s, const char *name, source_file **out, cloze_error *err);

/* A vocabulary of one token a line. */
cloze_status load_vocab_text(tokenizer *tok, const char *text, size_t n, const char *what,
                             cloze_error *err);
cloze_status load_wordpiece(load_state *s, const char *text, size_t n, cloze_error *err);
cloze_status load_byte_bpe(load_state *s, const source_file *vocab, const source_file *merges,
                           cloze_error *err);
/* The same from tokenizer.json, all parts. */
cloze_status load_tokenizer_json(load_state *s, const source_file *file, cloze_error *err);
cloze_status load_json_normalizer(tokenizer *tok, const cJSON *item, cloze_error *err);
cloze_status load_json_pretokenizer(tokenizer *tok, const cJSON *item, cloze_error *err);
cloze_status load_json_postprocessor(tokenizer *tok, const cJSON *item, cloze_error *err);

/* Fills tok->vocab from a JSON object token -> id. */
cloze_status load_vocab_object(tokenizer *tok, const cJSON *object, cloze_error *err);

/* A token given as a string or as {"content": ...}. False: neither. The content is borrowed. */
bool load_token_spec(const cJSON *item, added_token *out);
/* Adds a token of the files; its id is the vocabulary's, or `id`, or (-1) the next free one. */
cloze_status load_add_token(tokenizer *tok, added_token token, int32_t id, cloze_error *err);
/* Roles ([CLS], [MASK]...) from the configuration files or `defaults` (NULL = none), and the added
 * tokens that those files list. */
cloze_status load_special_tokens(load_state *s, const char *const defaults[ROLE_COUNT],
                                 cloze_error *err);
/* [CLS] A [SEP] B [SEP]; <s> A </s></s> B </s>; nothing around A and B. */
void load_bert_layout(tokenizer *tok, int32_t cls, int32_t sep);
void load_roberta_layout(tokenizer *tok, int32_t cls, int32_t sep);
void load_plain_layout(tokenizer *tok);
int32_t load_role_id(const tokenizer *tok, int role); /* -1 = none */

/* The configuration's value of a boolean: 1, 0, or -1 when it is missing or null. */
int load_flag(const cJSON *config, const char *key);

#endif
