/*
 * Keyword prompts: pre-training that is nearer to prompt learning than filling gaps is. A word is
 * taken out of a text and asked for at the masks of a template in front of (or behind) a part of
 * that text in which it does not occur:
 *
 *   体育 : 国足今晚迎战韩国队          [CLS] [MASK] [MASK] ： 国 足 今 晚 迎 战 韩 国 队 [SEP]
 *
 * so that the masks of a template learn to name what the text is about. No labels are needed: the
 * words come from the text itself. A word type is asked for about equally often once it is common
 * (as word2vec thins out frequent words, Mikolov et al. 2013), so function words do not drown
 * the others.
 */
#ifndef CLOZE_TRAIN_KEYWORD_H
#define CLOZE_TRAIN_KEYWORD_H

#include "base/rng.h"
#include "train/corpus.h"

enum {
    KEYWORD_MAX_TOKENS = 8, /* of a keyword */
    KEYWORD_MIN_COUNT = 20, /* occurrences in the corpus below which a word is never asked for */
    KEYWORD_MIN_TEXT = 8,   /* tokens of text a prompt shows: drawn from MIN .. MAX */
    KEYWORD_MAX_TEXT = 40
};

/* Templates and word weights. Immutable once made: any number of threads. */
typedef struct keyword_prompts keyword_prompts;

/* templates: templates of template.h separated by `|`, each of one text part, one mask part and
 * any number of hard parts; anything else is ERR_USAGE. Words and their counts come from c, whose
 * token ids are tok's; a corpus without a word of two letters or more that occurs
 * KEYWORD_MIN_COUNT times is ERR_DATA. Neither c nor tok is kept. */
cloze_status keyword_prompts_create(const char *templates, const tokenizer *tok, const corpus *c,
                                    keyword_prompts **out, cloze_error *err);
void keyword_prompts_destroy(keyword_prompts *k); /* NULL is accepted */

/* Words that may be asked for. */
int32_t keyword_prompts_word_count(const keyword_prompts *k);
/* Tokens that a prompt has beside its text at most, special ones left out. */
int32_t keyword_prompts_max_extra(const keyword_prompts *k);

/* Chooses a word of tokens[0..n) (corpus.h) at random by weight: *begin, *length in tokens. False
 * when no word of them may be asked for. */
bool keyword_choose(const keyword_prompts *k, const int32_t *tokens, int32_t n, rng *r,
                    int32_t *begin, int32_t *length);

/* A template as a list of token ids; KEYWORD_SLOT_MASKS stands for the masks, KEYWORD_SLOT_TEXT for
 * the text. */
#define KEYWORD_SLOT_MASKS (-1)
#define KEYWORD_SLOT_TEXT (-2)
typedef struct keyword_template {
    int32_t *slots; /* (n) */
    int32_t n;
} keyword_template;
const keyword_template *keyword_draw_template(const keyword_prompts *k, rng *r); /* borrowed */

#endif
