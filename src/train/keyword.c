/* Keyword prompts: which words may be asked for, how often, and in which template. */
#include "train/keyword.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "prompt/grow.h"
#include "prompt/template.h"

/* Share of all words above which a word's occurrences are thinned out: common words are then asked
 * for about as often as a word of this share is. */
#define COMMON_SHARE 1e-4

typedef struct word_slot {
    uint64_t hash;  /* of the word's ids */
    int64_t first;  /* an occurrence: its first token in the corpus */
    int64_t count;  /* 0 = free */
    int32_t length; /* tokens */
    float weight;   /* of an occurrence; 0 = never asked for */
} word_slot;

struct keyword_prompts {
    word_slot *slots; /* (n_slots) open addressing, n_slots a power of two */
    int64_t n_slots, n_used;
    int32_t n_words; /* with a weight */
    keyword_template *templates;
    int32_t n_templates;
    int64_t template_cap;
    int32_t max_fixed; /* tokens of the hard parts of the longest template */
};

void keyword_prompts_destroy(keyword_prompts *k) {
    if (!k) return;
    for (int32_t i = 0; i < k->n_templates; i++) mem_free(k->templates[i].slots);
    mem_free(k->templates);
    mem_free(k->slots);
    mem_free(k);
}

int32_t keyword_prompts_word_count(const keyword_prompts *k) { return k->n_words; }

int32_t keyword_prompts_max_extra(const keyword_prompts *k) {
    return k->max_fixed + KEYWORD_MAX_TOKENS;
}

/* ---- counting words ---- */

static int32_t word_end(const int32_t *tokens, int32_t n, int32_t begin) {
    int32_t end = begin + 1;
    while (end < n && !(tokens[end] & 1)) end++;
    return end;
}

static uint64_t word_hash(const int32_t *tokens, int32_t length) {
    uint64_t h = 0x6b6579776f7264ull;
    for (int32_t i = 0; i < length; i++) h = rng_mix(h, (uint64_t)(tokens[i] >> 1) + 1);
    return h;
}

/* The slot of a hash, or the free one where it belongs. */
static word_slot *find_slot(word_slot *slots, int64_t n_slots, uint64_t hash) {
    uint64_t at = hash & (uint64_t)(n_slots - 1);
    while (slots[at].count && slots[at].hash != hash) at = (at + 1) & (uint64_t)(n_slots - 1);
    return &slots[at];
}

static cloze_status grow_slots(keyword_prompts *k, cloze_error *err) {
    word_slot *grown;
    int64_t n = k->n_slots ? 2 * k->n_slots : 1024;
    MEM_NEW(err, grown, n);
    for (int64_t i = 0; i < k->n_slots; i++)
        if (k->slots[i].count) *find_slot(grown, n, k->slots[i].hash) = k->slots[i];
    mem_free(k->slots);
    k->slots = grown;
    k->n_slots = n;
    return CLOZE_OK;
}

static cloze_status count_sequence(keyword_prompts *k, const corpus *c, int64_t s, int64_t *n_words,
                                   cloze_error *err) {
    const int32_t *tokens = c->tokens + c->offsets[s];
    int32_t n = (int32_t)(c->offsets[s + 1] - c->offsets[s]);
    for (int32_t begin = 0, end; begin < n; begin = end) {
        end = word_end(tokens, n, begin);
        ++*n_words;
        if (end - begin > KEYWORD_MAX_TOKENS) continue;
        if (2 * k->n_used >= k->n_slots) CLOZE_TRY(grow_slots(k, err));
        uint64_t hash = word_hash(tokens + begin, end - begin);
        word_slot *slot = find_slot(k->slots, k->n_slots, hash);
        if (!slot->count) {
            k->n_used++;
            slot->hash = hash;
            slot->first = c->offsets[s] + begin;
            slot->length = end - begin;
        }
        slot->count++;
    }
    return CLOZE_OK;
}

/* Whether a word has two characters or more, and letters only: numbers and punctuation name
 * nothing. */
static bool is_keyword(const tokenizer *tok, const int32_t *tokens, int32_t length) {
    int32_t n_chars = 0;
    for (int32_t i = 0; i < length; i++) {
        const char *text = tokenizer_id_to_token(tok, tokens[i] >> 1);
        if (!text || tokenizer_is_special(tok, tokens[i] >> 1)) return false;
        if (tokenizer_is_continuation(tok, tokens[i] >> 1) && strncmp(text, "##", 2) == 0)
            text += 2;
        for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
            bool ascii_letter = (*c | 0x20) >= 'a' && (*c | 0x20) <= 'z';
            if (*c < 0x80 && !ascii_letter) return false;
            n_chars += (*c & 0xc0) != 0x80;
        }
    }
    return n_chars >= 2;
}

static void weigh_words(keyword_prompts *k, const tokenizer *tok, const corpus *c,
                        int64_t n_words) {
    double common = COMMON_SHARE * (double)n_words;
    if (common < KEYWORD_MIN_COUNT) common = KEYWORD_MIN_COUNT;
    for (int64_t i = 0; i < k->n_slots; i++) {
        word_slot *slot = &k->slots[i];
        if (slot->count < KEYWORD_MIN_COUNT) continue;
        if (!is_keyword(tok, c->tokens + slot->first, slot->length)) continue;
        slot->weight = (double)slot->count > common ? (float)(common / (double)slot->count) : 1.0f;
        k->n_words++;
    }
}

static cloze_status count_words(keyword_prompts *k, const tokenizer *tok, const corpus *c,
                                cloze_error *err) {
    int64_t n_words = 0;
    for (int64_t s = 0; s < c->n_sequences; s++) CLOZE_TRY(count_sequence(k, c, s, &n_words, err));
    weigh_words(k, tok, c, n_words);
    if (k->n_words == 0)
        CLOZE_FAIL(err, DATA,
                   "no word of the text occurs %d times or more: keyword prompts need more text",
                   KEYWORD_MIN_COUNT);
    return CLOZE_OK;
}

/* ---- templates ---- */

static cloze_status add_slots(keyword_template *t, int64_t *cap, const int32_t *ids, int32_t n,
                              cloze_error *err) {
    GROW_TO(err, t->slots, *cap, t->n + n);
    memcpy(t->slots + t->n, ids, (size_t)n * sizeof *ids);
    t->n += n;
    return CLOZE_OK;
}

static cloze_status add_part(keyword_template *t, int64_t *cap, const tokenizer *tok,
                             const template_part *part, cloze_error *err) {
    static const int32_t masks = KEYWORD_SLOT_MASKS, text = KEYWORD_SLOT_TEXT;
    encoding e;
    if (part->kind == TEMPLATE_MASK) return add_slots(t, cap, &masks, 1, err);
    if (part->kind == TEMPLATE_TEXT) return add_slots(t, cap, &text, 1, err);
    encoding_init(&e, false, false);
    cloze_status status = tokenizer_encode_text(tok, part->value, strlen(part->value), &e, err);
    if (status == CLOZE_OK) status = add_slots(t, cap, e.ids, e.n, err);
    encoding_deinit(&e);
    return status;
}

static cloze_status check_parts(const template_t *t, const char *text, cloze_error *err) {
    int32_t n_masks = 0, n_texts = 0, n_others = 0;
    for (int32_t i = 0; i < t->n_parts; i++) {
        const template_part *part = &t->parts[i];
        n_masks += part->kind == TEMPLATE_MASK;
        n_texts += part->kind == TEMPLATE_TEXT;
        n_others += part->kind != TEMPLATE_MASK && part->kind != TEMPLATE_TEXT &&
                    part->kind != TEMPLATE_HARD;
        if (part->length > 0 || part->position >= 0 || part->token_type >= 0) n_others++;
    }
    if (n_masks == 1 && n_texts == 1 && n_others == 0) return CLOZE_OK;
    CLOZE_FAIL(err, USAGE,
               "--keyword_prompt: '%.200s' is not a keyword template, which has one {'text': "
               "'text_a'}, one {'mask'} and {'hard': '...'} parts, without further attributes",
               text);
}

static cloze_status add_template(keyword_prompts *k, const char *text, const tokenizer *tok,
                                 cloze_error *err) {
    template_t parsed = {0};
    int64_t cap = 0;
    CLOZE_TRY(template_parse(text, &parsed, err));
    cloze_status status = check_parts(&parsed, text, err);
    if (status == CLOZE_OK && k->n_templates == k->template_cap) {
        keyword_template *grown =
            grow_array(k->templates, &k->template_cap, k->n_templates + 1, sizeof *grown);
        if (grown)
            k->templates = grown;
        else
            status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for a template");
    }
    if (status == CLOZE_OK) {
        keyword_template *t = &k->templates[k->n_templates++];
        *t = (keyword_template){0};
        for (int32_t i = 0; i < parsed.n_parts && status == CLOZE_OK; i++)
            status = add_part(t, &cap, tok, &parsed.parts[i], err);
        if (t->n - 2 > k->max_fixed) k->max_fixed = t->n - 2;
    }
    template_deinit(&parsed);
    return status;
}

static cloze_status add_templates(keyword_prompts *k, const char *templates, const tokenizer *tok,
                                  cloze_error *err) {
    for (;;) {
        size_t n = strcspn(templates, "|");
        char *text = mem_strndup(templates, n);
        if (!text) CLOZE_FAIL(err, MEMORY, "out of memory");
        cloze_status status = add_template(k, text, tok, err);
        mem_free(text);
        if (status != CLOZE_OK || templates[n] == '\0') return status;
        templates += n + 1;
    }
}

cloze_status keyword_prompts_create(const char *templates, const tokenizer *tok, const corpus *c,
                                    keyword_prompts **out, cloze_error *err) {
    keyword_prompts *k;
    *out = NULL;
    MEM_NEW(err, k, 1);
    cloze_status status = add_templates(k, templates, tok, err);
    if (status == CLOZE_OK) status = count_words(k, tok, c, err);
    if (status == CLOZE_OK)
        *out = k;
    else
        keyword_prompts_destroy(k);
    return status;
}

/* ---- drawing ---- */

static float word_weight(const keyword_prompts *k, const int32_t *tokens, int32_t length) {
    if (length > KEYWORD_MAX_TOKENS) return 0;
    const word_slot *slot = find_slot(k->slots, k->n_slots, word_hash(tokens, length));
    return slot->count ? slot->weight : 0;
}

/* Reservoir sampling by weight: one pass, one look at each word. */
bool keyword_choose(const keyword_prompts *k, const int32_t *tokens, int32_t n, rng *r,
                    int32_t *begin, int32_t *length) {
    double total = 0;
    for (int32_t at = 0, end; at < n; at = end) {
        end = word_end(tokens, n, at);
        double weight = (double)word_weight(k, tokens + at, end - at);
        if (weight <= 0) continue;
        total += weight;
        if (rng_uniform(r) * total >= weight) continue;
        *begin = at;
        *length = end - at;
    }
    return total > 0;
}

const keyword_template *keyword_draw_template(const keyword_prompts *k, rng *r) {
    return &k->templates[rng_below(r, (uint32_t)k->n_templates)];
}
