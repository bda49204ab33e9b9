/*
 * The spellings of parameter names, as tables, and the search through them.
 *
 * A canonical name is <base>.<core> or <core> (heads). Candidates are tried in this order: name
 * aliases (the name itself first), for each the wrappers, the base prefixes, and the LayerNorm
 * spellings. The first tensor that exists wins.
 */
#include "ckpt/name_map.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define NAME_BYTES_MAX 512
#define LISTED_NAMES_MAX 8

/* What wrapper classes put before every name. */
static const char *const wrappers[] = {"", "module.", "model.", "module.model.", "plm."};

/* Base prefixes; the canonical one and none at all are tried before these. */
static const char *const bases[] = {"bert.", "roberta.", "ernie.", "xlm_roberta.", "electra.",
                                    "encoder_model."};

/* Ends of names: the canonical one, and how TensorFlow's conversions call it. */
static const struct { const char *canonical, *other; } endings[] = {
    {"LayerNorm.weight", "LayerNorm.gamma"},
    {"LayerNorm.bias", "LayerNorm.beta"},
    {"layer_norm.weight", "layer_norm.gamma"},
    {"layer_norm.bias", "layer_norm.beta"},
};

/* Other places of a whole parameter; @ stands for the canonical base and its dot. */
static const struct { const char *name, *other; } aliases[] = {
    {"cls.predictions.bias", "cls.predictions.decoder.bias"},
    {"cls.predictions.decoder.bias", "cls.predictions.bias"},
    {"cls.predictions.decoder.weight", "@embeddings.word_embeddings.weight"}, /* tied */
    {"lm_head.bias", "lm_head.decoder.bias"},
    {"lm_head.decoder.bias", "lm_head.bias"},
    {"lm_head.decoder.weight", "@embeddings.word_embeddings.weight"}, /* tied */
};

/* Tensors that a checkpoint may have without anybody asking: ends of their names. */
static const char *const harmless[] = {
    "position_ids", "embeddings.token_type_ids", "cls.seq_relationship.weight",
    "cls.seq_relationship.bias", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias",
    "lm_head.decoder.weight", "lm_head.decoder.bias", "verbalizer.weight", "verbalizer.bias",
    "pooler.dense.weight", "pooler.dense.bias", /* of classifiers alone */
};

struct name_map {
    const ckpt *ckpt;
    arena arena; /* missing names */
    char base[32]; /* with its dot, or "" */
    bool *used;  /* (ckpt_count) */
    const char **missing; /* (n_missing) */
    size_t n_missing, cap_missing;
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

cloze_status name_map_create(const ckpt *c, const char *base, name_map **out, cloze_error *err)
{
    *out = NULL;
    if (strlen(base) > 30) CLOZE_FAIL(err, INTERNAL, "the base prefix '%s' is too long", base);
    name_map *m;
    MEM_NEW(err, m, 1);
    m->ckpt = c;
    arena_init(&m->arena, 4096);
    snprintf(m->base, sizeof m->base, base[0] ? "%s." : "%s", base);
    m->used = mem_calloc(ckpt_count(c) + 1, sizeof *m->used);
    if (!m->used) {
        name_map_destroy(m);
        CLOZE_FAIL(err, MEMORY, "out of memory (%zu tensors)", ckpt_count(c));
    }
    *out = m;
    return CLOZE_OK;
}

void name_map_destroy(name_map *m)
{
    if (!m) return;
    arena_deinit(&m->arena);
    mem_free(m->used);
    mem_free(m->missing);
    mem_free(m);
}

static const ckpt_tensor *find_joined(const name_map *m, const char *wrapper, const char *base,
                                      const char *core, size_t core_len, const char *ending)
{
    char name[NAME_BYTES_MAX];
    int n = snprintf(name, sizeof name, "%s%s%.*s%s", wrapper, base, (int)core_len, core, ending);
    return n > 0 && (size_t)n < sizeof name ? ckpt_find(m->ckpt, name) : NULL;
}

static bool ends_with(const char *text, size_t n, const char *suffix)
{
    size_t len = strlen(suffix);
    return n >= len && memcmp(text + n - len, suffix, len) == 0;
}

/* wrapper + base + core, with core's own ending or the other spelling of it. */
static const ckpt_tensor *find_ending(const name_map *m, const char *wrapper, const char *base,
                                      const char *core)
{
    size_t n = strlen(core);
    const ckpt_tensor *t = find_joined(m, wrapper, base, core, n, "");
    for (size_t i = 0; i < COUNT(endings) && !t; i++) {
        if (ends_with(core, n, endings[i].canonical))
            t = find_joined(m, wrapper, base, core, n - strlen(endings[i].canonical),
                            endings[i].other);
    }
    return t;
}

/* One canonical name under every wrapper and base prefix. */
static const ckpt_tensor *find_spelling(const name_map *m, const char *name)
{
    size_t base_len = strlen(m->base);
    bool has_base = base_len > 0 && strncmp(name, m->base, base_len) == 0;
    const char *core = has_base ? name + base_len : name;
    for (size_t w = 0; w < COUNT(wrappers); w++) {
        const ckpt_tensor *t = find_ending(m, wrappers[w], has_base ? m->base : "", core);
        if (!t && has_base) t = find_ending(m, wrappers[w], "", core);
        for (size_t b = 0; has_base && b < COUNT(bases) && !t; b++)
            t = find_ending(m, wrappers[w], bases[b], core);
        if (t) return t;
    }
    return NULL;
}

const ckpt_tensor *name_map_peek(const name_map *m, const char *name)
{
    const ckpt_tensor *t = find_spelling(m, name);
    for (size_t i = 0; i < COUNT(aliases) && !t; i++) {
        if (strcmp(name, aliases[i].name) != 0) continue;
        char other[NAME_BYTES_MAX];
        bool based = aliases[i].other[0] == '@';
        snprintf(other, sizeof other, "%s%s", based ? m->base : "", aliases[i].other + based);
        t = find_spelling(m, other);
    }
    return t;
}

/* Remembers a missing name. Without memory it is only left out of the message. */
static void add_missing(name_map *m, const char *name)
{
    for (size_t i = 0; i < m->n_missing; i++) {
        if (strcmp(m->missing[i], name) == 0) return;
    }
    if (m->n_missing == m->cap_missing) {
        size_t cap = m->cap_missing ? 2 * m->cap_missing : 32;
        const char **grown =
            mem_realloc(m->missing, m->cap_missing * sizeof *grown, cap * sizeof *grown);
        if (!grown) return;
        m->missing = grown;
        m->cap_missing = cap;
    }
    const char *copy = arena_strdup(&m->arena, name);
    if (copy) m->missing[m->n_missing++] = copy;
}

const ckpt_tensor *name_map_find(name_map *m, const char *name)
{
    const ckpt_tensor *t = name_map_peek(m, name);
    if (t) m->used[t - ckpt_at(m->ckpt, 0)] = true;
    else add_missing(m, name);
    return t;
}

cloze_status name_map_require(name_map *m, const char *name, int rank, const int64_t *shape,
                              const ckpt_tensor **out, cloze_error *err)
{
    *out = NULL;
    const ckpt_tensor *t = name_map_find(m, name);
    const char *file = ckpt_count(m->ckpt) ? ckpt_at(m->ckpt, 0)->file : "the checkpoint";
    if (!t)
        CLOZE_FAIL(err, MODEL,
                   "%s: no tensor '%s' (nor under its other spellings), but the model has one",
                   file, name);
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->shape[i] == shape[i];
    if (!same) {
        char has[128], wanted[128];
        ckpt_tensor want = {.rank = rank};
        for (int i = 0; i < rank; i++) want.shape[i] = shape[i];
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has shape %s, but config.json calls for %s",
                   t->file, t->name, ckpt_shape_text(t, has, sizeof has),
                   ckpt_shape_text(&want, wanted, sizeof wanted));
    }
    *out = t;
    return CLOZE_OK;
}

void name_map_plain_name(const char *name, char *out, size_t n)
{
    size_t skip = 0;
    for (size_t w = 0; w < COUNT(wrappers); w++) {
        size_t len = strlen(wrappers[w]);
        if (len > skip && strncmp(name, wrappers[w], len) == 0) skip = len;
    }
    name += skip;
    snprintf(out, n, "%s", name);
    for (size_t i = 0; i < COUNT(endings); i++) {
        size_t stem = strlen(name) - strlen(endings[i].other);
        if (ends_with(name, strlen(name), endings[i].other))
            snprintf(out, n, "%.*s%s", (int)stem, name, endings[i].canonical);
    }
}

size_t name_map_missing_count(const name_map *m) { return m->n_missing; }

const char *name_map_missing_at(const name_map *m, size_t i) { return m->missing[i]; }

static bool is_unexpected(const name_map *m, size_t i)
{
    const char *name = ckpt_at(m->ckpt, i)->name;
    if (m->used[i]) return false;
    for (size_t k = 0; k < COUNT(harmless); k++) {
        if (ends_with(name, strlen(name), harmless[k])) return false;
    }
    return true;
}

size_t name_map_unexpected_count(const name_map *m)
{
    size_t n = 0;
    for (size_t i = 0; i < ckpt_count(m->ckpt); i++) n += is_unexpected(m, i);
    return n;
}

/* "3 missing (a, b, c)", listing at most LISTED_NAMES_MAX. */
static void describe_begin(buf *out, size_t n, const char *what)
{
    if (out->len > 0) buf_puts(out, "; ");
    buf_printf(out, "%zu %s (", n, what);
}

static void describe_name(buf *out, size_t listed, const char *name)
{
    if (listed > LISTED_NAMES_MAX) return;
    if (listed > 0) buf_puts(out, ", ");
    buf_puts(out, listed == LISTED_NAMES_MAX ? "..." : name);
}

void name_map_describe(const name_map *m, buf *out)
{
    if (m->n_missing > 0) {
        describe_begin(out, m->n_missing, "missing");
        for (size_t i = 0; i < m->n_missing; i++) describe_name(out, i, m->missing[i]);
        buf_putc(out, ')');
    }
    size_t n = name_map_unexpected_count(m);
    if (n == 0) return;
    describe_begin(out, n, "unexpected");
    for (size_t i = 0, listed = 0; i < ckpt_count(m->ckpt); i++) {
        if (is_unexpected(m, i)) describe_name(out, listed++, ckpt_at(m->ckpt, i)->name);
    }
    buf_putc(out, ')');
}
