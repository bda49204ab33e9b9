/*
 * Words met before and their tokens, shared by all threads of a tokenizer without locks: an entry
 * is immutable once published and stays until the tokenizer ends; a full set of slots takes no
 * more.
 */
#ifndef CLOZE_TEXT_BPE_CACHE_H
#define CLOZE_TEXT_BPE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "text/bpe.h"

#define BPE_CACHE_WORD 40 /* longest word kept, in bytes */

cloze_status bpe_cache_create(bpe_cache **out, cloze_error *err);
void bpe_cache_destroy(bpe_cache *c);
uint64_t bpe_cache_hash(const char *word, size_t n);
/* Copies the tokens to `tokens` (room for n). False: not there. */
bool bpe_cache_get(const bpe_cache *c, uint64_t hash, const char *word, size_t n, bpe_token *tokens,
                   size_t *n_tokens);
/* Keeps the word if there is a slot and memory for it. */
void bpe_cache_put(bpe_cache *c, uint64_t hash, const char *word, size_t n, const bpe_token *tokens,
                   size_t n_tokens);

#endif
