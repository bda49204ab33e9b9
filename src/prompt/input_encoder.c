/* Encoding of examples through a compiled template, or plainly. See input_encoder.h. */
#include "prompt/input_encoder.h"

#include <string.h>

#include "prompt/grow.h"

#define DEFAULT_MAX_SEQ_LENGTH 512

/* A part of the template, ready to use. */
typedef struct compiled_part {
    template_kind kind;
    int32_t field;      /* text parts: 0 = text, 1 = text_b; others -1 */
    int32_t begin, end; /* other parts: their tokens in fixed_ids */
    int32_t position;   /* > 0 starts positions anew */
    int32_t token_type;
    bool may_cut, add_space;
} compiled_part;

struct input_encoder {
    const tokenizer *tok;
    const template_t *tmpl; /* NULL = plain */
    int32_t max_seq_length;
    bool truncate_left, natural_sep_position, cut_last_first;
    int32_t before[TOKENIZER_MAX_PARTS], after[TOKENIZER_MAX_PARTS]; /* special tokens around */
    int32_t n_before, n_after;
    compiled_part *parts; /* (n_parts) */
    int32_t n_parts;
    int32_t *fixed; /* (n_fixed) tokens of hard, mask, sep and cls parts */
    int64_t n_fixed, fixed_cap;
    int32_t n_masks;
};

/* ---- storage of an encoded example ---- */

void encoded_example_deinit(encoded_example *e) {
    mem_free(e->input_ids);
    mem_free(e->token_type_ids);
    mem_free(e->position_ids);
    mem_free(e->soft_token_ids);
    mem_free(e->encoder_ids);
    mem_free(e->masked_positions);
    mem_free(e->spans);
    encoding_deinit(&e->scratch);
    *e = (encoded_example){0};
}

static cloze_status grow_i32(int32_t **array, int32_t used, int32_t cap, cloze_error *err) {
    int32_t *grown =
        mem_realloc(*array, (size_t)used * sizeof **array, (size_t)cap * sizeof **array);
    if (!grown) CLOZE_FAIL(err, MEMORY, "out of memory (%d tokens)", (int)cap);
    *array = grown;
    return CLOZE_OK;
}

static cloze_status reserve_tokens(encoded_example *e, int32_t need, cloze_error *err) {
    if (need <= e->cap) return CLOZE_OK;
    int32_t cap = need + need / 2 + 32, used = e->n;
    CLOZE_TRY(grow_i32(&e->input_ids, used, cap, err));
    CLOZE_TRY(grow_i32(&e->token_type_ids, used, cap, err));
    CLOZE_TRY(grow_i32(&e->position_ids, used, cap, err));
    CLOZE_TRY(grow_i32(&e->soft_token_ids, used, cap, err));
    CLOZE_TRY(grow_i32(&e->encoder_ids, used, cap, err));
    e->cap = cap;
    return CLOZE_OK;
}

static cloze_status reserve_masks(encoded_example *e, int32_t need, cloze_error *err) {
    if (need <= e->mask_cap) return CLOZE_OK;
    CLOZE_TRY(grow_i32(&e->masked_positions, e->n_masks, need + 8, err));
    e->mask_cap = need + 8;
    return CLOZE_OK;
}

static cloze_status reserve_spans(encoded_example *e, int32_t need, cloze_error *err) {
    if (need <= e->span_cap) return CLOZE_OK;
    input_span *grown =
        mem_realloc(e->spans, (size_t)e->n_spans * sizeof *grown, (size_t)need * sizeof *grown);
    if (!grown) CLOZE_FAIL(err, MEMORY, "out of memory (%d template parts)", (int)need);
    e->spans = grown;
    e->span_cap = need;
    return CLOZE_OK;
}

/* The caller has reserved room. */
static void put_token(encoded_example *e, int32_t id, int32_t token_type, int32_t position) {
    e->input_ids[e->n] = id;
    e->token_type_ids[e->n] = token_type;
    e->position_ids[e->n] = position;
    e->soft_token_ids[e->n] = 0;
    e->encoder_ids[e->n] = 0;
    e->n++;
}

/* ---- compiling a template ---- */

static cloze_status find_field(const char *name, const input_options *opts, int32_t *field,
                               cloze_error *err) {
    bool is_a = strcmp(name, "text_a") == 0 || strcmp(name, "text") == 0 ||
                (opts->text_field && strcmp(name, opts->text_field) == 0);
    bool is_b = strcmp(name, "text_b") == 0 ||
                (opts->text_b_field && strcmp(name, opts->text_b_field) == 0);
    if (!is_a && !is_b)
        CLOZE_FAIL(err, USAGE,
                   "the template reads the field '%.100s', but the data has 'text_a'%s%.100s%s%s; "
                   "name columns with --text_column and --text_b_column",
                   name, opts->text_field ? " (" : "", opts->text_field ? opts->text_field : "",
                   opts->text_field ? ")" : "", opts->text_b_field ? " and 'text_b'" : "");
    *field = is_a ? 0 : 1;
    return CLOZE_OK;
}

static cloze_status append_special(input_encoder *e, int32_t id, int32_t count, const char *what,
                                   cloze_error *err) {
    if (id < 0)
        CLOZE_FAIL(err, MODEL, "the tokenizer has no %s token, which the template needs", what);
    GROW_TO(err, e->fixed, e->fixed_cap, e->n_fixed + count);
    for (int32_t i = 0; i < count; i++) e->fixed[e->n_fixed++] = id;
    return CLOZE_OK;
}

/* Tokens of text, with a space before it where the vocabulary tells words by it. */
static cloze_status encode_words(const tokenizer *tok, const char *text, size_t n, bool add_space,
                                 encoding *out, cloze_error *err) {
    if (!add_space || tokenizer_get_kind(tok) == TOKENIZER_WORDPIECE)
        return tokenizer_encode_text(tok, text, n, out, err);
    char *spaced = mem_alloc(n + 1);
    if (!spaced) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes of text)", n);
    spaced[0] = ' ';
    if (n) memcpy(spaced + 1, text, n);
    cloze_status status = tokenizer_encode_text(tok, spaced, n + 1, out, err);
    mem_free(spaced);
    return status;
}

static cloze_status append_words(input_encoder *e, const template_part *part, cloze_error *err) {
    encoding words;
    encoding_init(&words, false, false);
    cloze_status status =
        encode_words(e->tok, part->value, strlen(part->value), part->add_space, &words, err);
    for (int32_t i = 0; i < words.n && status == CLOZE_OK; i++)
        status = append_special(e, words.ids[i], 1, "hard", err);
    encoding_deinit(&words);
    return status;
}

static cloze_status compile_part(input_encoder *e, const template_part *part,
                                 const input_options *opts, int32_t masks, compiled_part *out,
                                 cloze_error *err) {
    const tokenizer_special_ids *ids = tokenizer_special(e->tok);
    int32_t count = part->length > 0 ? part->length : masks;
    *out = (compiled_part){.kind = part->kind,
                           .field = -1,
                           .begin = (int32_t)e->n_fixed,
                           .position = part->position,
                           .add_space = part->add_space};
    out->may_cut = part->truncate >= 0 ? part->truncate : part->kind == TEMPLATE_TEXT;
    if (part->kind == TEMPLATE_TEXT) CLOZE_TRY(find_field(part->value, opts, &out->field, err));
    if (part->kind == TEMPLATE_HARD) CLOZE_TRY(append_words(e, part, err));
    if (part->kind == TEMPLATE_MASK) CLOZE_TRY(append_special(e, ids->mask, count, "mask", err));
    if (part->kind == TEMPLATE_SEP) CLOZE_TRY(append_special(e, ids->sep, 1, "separator", err));
    if (part->kind == TEMPLATE_CLS) CLOZE_TRY(append_special(e, ids->cls, 1, "classifier", err));
    out->end = (int32_t)e->n_fixed;
    for (int32_t i = out->begin; i < out->end; i++) {
        if (e->fixed[i] != ids->mask) continue;
        if (out->may_cut)
            CLOZE_FAIL(err, USAGE,
                       "the template cuts a part with a mask in it; drop its 'truncate'");
        e->n_masks++;
    }
    return CLOZE_OK;
}

/* The template's own tokens must leave a token for every part that may be cut. */
static cloze_status check_room(const input_encoder *e, cloze_error *err) {
    int32_t fixed = e->n_before + e->n_after, n_cut = 0, n_text = 0;
    for (int32_t i = 0; i < e->n_parts; i++) {
        const compiled_part *part = &e->parts[i];
        n_text += part->field >= 0;
        n_cut += part->may_cut;
        if (!part->may_cut) fixed += part->end - part->begin;
    }
    if (e->n_masks == 0)
        CLOZE_FAIL(err, USAGE,
                   "the template has no mask; put {'mask'} where the label word belongs");
    int32_t wanted = n_cut > 0 ? n_cut : n_text;
    if (fixed + wanted <= e->max_seq_length) return CLOZE_OK;
    CLOZE_FAIL(err, USAGE,
               "the template takes %d of the %d tokens of --max_seq_length (%d special, %d mask) "
               "and leaves no room for text; shorten it, or give at least %d",
               (int)fixed, (int)e->max_seq_length, (int)(e->n_before + e->n_after), (int)e->n_masks,
               (int)(fixed + wanted));
}

static void split_layout(input_encoder *e) {
    int32_t layout[TOKENIZER_MAX_PARTS];
    int32_t n = tokenizer_special_layout(e->tok, false, layout, NULL);
    bool behind = false;
    for (int32_t i = 0; i < n; i++) {
        if (layout[i] == TOKENIZER_PART_A)
            behind = true;
        else if (behind)
            e->after[e->n_after++] = layout[i];
        else
            e->before[e->n_before++] = layout[i];
    }
}

static cloze_status compile(input_encoder *e, const input_options *opts, cloze_error *err) {
    int32_t masks = opts->n_masks > 0 && template_fixed_masks(e->tmpl) == 0 ? opts->n_masks : 1;
    int32_t token_type = 0;
    MEM_NEW(err, e->parts, e->tmpl->n_parts);
    for (int32_t i = 0; i < e->tmpl->n_parts; i++) {
        const template_part *part = &e->tmpl->parts[i];
        CLOZE_TRY(compile_part(e, part, opts, masks, &e->parts[i], err));
        if (part->token_type >= 0) token_type = part->token_type;
        e->parts[i].token_type = token_type;
        e->n_parts++;
    }
    return check_room(e, err);
}

cloze_status input_encoder_create(const template_t *tmpl, const tokenizer *tok,
                                  const input_options *opts, input_encoder **out,
                                  cloze_error *err) {
    input_options defaults = {0};
    cloze_status status = CLOZE_OK;
    input_encoder *e;
    *out = NULL;
    if (!opts) opts = &defaults;
    if (opts->max_seq_length < 0 || opts->n_masks < 0 || opts->n_masks > TEMPLATE_MAX_MASKS)
        CLOZE_FAIL(err, USAGE, "--max_seq_length %d with %d masks makes no input",
                   (int)opts->max_seq_length, (int)opts->n_masks);
    if (tmpl) CLOZE_TRY(template_check(tmpl, CLOZE_ERR_USAGE, err));
    MEM_NEW(err, e, 1);
    e->tok = tok;
    e->tmpl = tmpl;
    e->max_seq_length = opts->max_seq_length > 0 ? opts->max_seq_length : DEFAULT_MAX_SEQ_LENGTH;
    e->truncate_left = opts->truncate_left;
    e->natural_sep_position = opts->natural_sep_position;
    e->cut_last_first = opts->cut_last_first;
    split_layout(e);
    if (tmpl)
        status = compile(e, opts, err);
    else if (e->max_seq_length <= e->n_before + e->n_after)
        status = error_set(err, CLOZE_ERR_USAGE,
                           "--max_seq_length %d leaves no room for text beside %d special tokens",
                           (int)e->max_seq_length, (int)(e->n_before + e->n_after));
    if (status != CLOZE_OK) {
        input_encoder_destroy(e);
        return status;
    }
    *out = e;
    return CLOZE_OK;
}

void input_encoder_destroy(input_encoder *e) {
    if (!e) return;
    mem_free(e->parts);
    mem_free(e->fixed);
    mem_free(e);
}

int32_t input_encoder_num_masks(const input_encoder *e) { return e->n_masks; }

/* ---- encoding one example ---- */

/* Tokens of each part of one example: a range of ids, and how many of them stay. */
typedef struct part_tokens {
    const int32_t *ids;
    int32_t begin, n, keep;
} part_tokens;

static cloze_status encode_texts(const input_encoder *e, const example *ex, encoding *scratch,
                                 part_tokens *tokens, cloze_error *err) {
    encoding_clear(scratch);
    for (int32_t i = 0; i < e->n_parts; i++) {
        const compiled_part *part = &e->parts[i];
        const char *text = part->field == 0 ? ex->text : ex->text_b;
        tokens[i] = (part_tokens){.begin = part->begin, .n = part->end - part->begin};
        if (part->field < 0) continue;
        if (!text)
            CLOZE_FAIL(err, DATA,
                       "line %lld: the template reads '%.100s', which the example does not have",
                       (long long)ex->line, e->tmpl->parts[i].value);
        tokens[i].begin = scratch->n;
        CLOZE_TRY(encode_words(e->tok, text, part->field == 0 ? ex->text_len : ex->text_b_len,
                               part->add_space, scratch, err));
        tokens[i].n = scratch->n - tokens[i].begin;
    }
    for (int32_t i = 0; i < e->n_parts; i++) /* the scratch array moved while it grew */
        tokens[i].ids = (e->parts[i].field < 0 ? e->fixed : scratch->ids) + tokens[i].begin;
    return CLOZE_OK;
}

/* PaddleNLP's rule up to 2.4.0: the last part that may be cut gives all it has, then the next. */
static void cut_from_the_end(const input_encoder *e, int64_t too_many, part_tokens *tokens) {
    for (int32_t i = e->n_parts - 1; i >= 0 && too_many > 0; i--) {
        if (!e->parts[i].may_cut) continue;
        int32_t cut = tokens[i].n < too_many ? tokens[i].n : (int32_t)too_many;
        tokens[i].keep -= cut;
        too_many -= cut;
    }
}

/* Decides how many tokens of each part stay: parts shorter than an equal share keep all, the
 * others get that share of what is left (PaddleNLP's rule; a remainder is left unused). */
static cloze_status share_room(const input_encoder *e, const example *ex, part_tokens *tokens,
                               cloze_error *err) {
    int64_t total = e->n_before + e->n_after, room = e->max_seq_length - total;
    int32_t n_open = 0;
    for (int32_t i = 0; i < e->n_parts; i++) {
        tokens[i].keep = tokens[i].n;
        total += tokens[i].n;
        if (e->parts[i].may_cut)
            n_open++;
        else
            room -= tokens[i].n;
    }
    int32_t limit = tokenizer_max_length(e->tok);
    if (total > e->max_seq_length && n_open == 0 && limit > 0 && total > limit)
        CLOZE_FAIL(
            err, DATA,
            "line %lld: %lld tokens, but the model takes %d and no part of the template may be "
            "cut ('truncate': True)",
            (long long)ex->line, (long long)total, (int)limit);
    if (total <= e->max_seq_length || n_open == 0) return CLOZE_OK;
    if (room < n_open)
        CLOZE_FAIL(
            err, DATA,
            "line %lld: the parts that may not be cut take %lld of %d tokens and leave no room "
            "for the others",
            (long long)ex->line, (long long)(e->max_seq_length - room), (int)e->max_seq_length);
    if (e->cut_last_first) {
        cut_from_the_end(e, total - e->max_seq_length, tokens);
        return CLOZE_OK;
    }
    bool open[TEMPLATE_MAX_PARTS];
    for (int32_t i = 0; i < e->n_parts; i++) open[i] = e->parts[i].may_cut;
    for (bool found = true; found;) {
        int64_t share = room / n_open;
        found = false;
        for (int32_t i = 0; i < e->n_parts; i++) {
            if (!open[i] || tokens[i].n > share) continue;
            open[i] = false;
            room -= tokens[i].n;
            n_open--;
            found = true;
        }
    }
    for (int32_t i = 0; i < e->n_parts; i++)
        if (open[i]) tokens[i].keep = (int32_t)(room / n_open);
    return CLOZE_OK;
}

static void put_span(encoded_example *out, template_kind kind, int32_t part, int32_t begin) {
    out->spans[out->n_spans++] = (input_span){kind, part, begin, out->n};
}

static void put_part(const input_encoder *e, int32_t i, const part_tokens *tokens,
                     int32_t *position, encoded_example *out) {
    const compiled_part *part = &e->parts[i];
    const int32_t *ids = tokens->ids + (e->truncate_left ? tokens->n - tokens->keep : 0);
    int32_t begin = out->n, mask = tokenizer_special(e->tok)->mask;
    if (part->position > 0) *position = part->position;
    for (int32_t t = 0; t < tokens->keep; t++) {
        if (part->field < 0 && ids[t] == mask) out->masked_positions[out->n_masks++] = out->n;
        put_token(out, ids[t], part->token_type, (*position)++);
    }
    out->n_cut += tokens->n - tokens->keep;
    put_span(out, part->kind, i, begin);
}

static cloze_status encode_template(const input_encoder *e, const example *ex, encoded_example *out,
                                    cloze_error *err) {
    part_tokens tokens[TEMPLATE_MAX_PARTS];
    int64_t total = e->n_before + e->n_after;
    CLOZE_TRY(encode_texts(e, ex, &out->scratch, tokens, err));
    CLOZE_TRY(share_room(e, ex, tokens, err));
    for (int32_t i = 0; i < e->n_parts; i++) total += tokens[i].keep;
    if (total > INT32_MAX / 4) CLOZE_FAIL(err, DATA, "line %lld: too long", (long long)ex->line);
    CLOZE_TRY(reserve_tokens(out, (int32_t)total, err));
    CLOZE_TRY(reserve_masks(out, e->n_masks, err));
    CLOZE_TRY(reserve_spans(out, e->n_parts + 2, err));
    int32_t position = 0;
    for (int32_t i = 0; i < e->n_before; i++) put_token(out, e->before[i], 0, position++);
    put_span(out, TEMPLATE_CLS, -1, 0);
    for (int32_t i = 0; i < e->n_parts; i++) put_part(e, i, &tokens[i], &position, out);
    int32_t begin = out->n;
    for (int32_t i = 0; i < e->n_after; i++)
        put_token(out, e->after[i], 0, e->natural_sep_position ? position++ : 0);
    put_span(out, TEMPLATE_SEP, -1, begin);
    return CLOZE_OK;
}

static cloze_status encode_plain(const input_encoder *e, const example *ex, encoded_example *out,
                                 cloze_error *err) {
    encoding *scratch = &out->scratch;
    tokenizer_encode_options opts = {.max_length = e->max_seq_length,
                                     .truncate_left = e->truncate_left};
    if (!scratch->wants_token_types) { /* storage that a template used so far has none */
        encoding_deinit(scratch);
        encoding_init(scratch, false, true);
    }
    encoding_clear(scratch);
    CLOZE_TRY(tokenizer_encode(e->tok, ex->text, ex->text_len, ex->text_b, ex->text_b_len, NULL,
                               scratch, err));
    int32_t whole = scratch->n;
    if (whole > e->max_seq_length) {
        encoding_clear(scratch);
        CLOZE_TRY(tokenizer_encode(e->tok, ex->text, ex->text_len, ex->text_b, ex->text_b_len,
                                   &opts, scratch, err));
    }
    out->n_cut = whole - scratch->n;
    CLOZE_TRY(reserve_tokens(out, scratch->n, err));
    for (int32_t i = 0; i < scratch->n; i++)
        put_token(out, scratch->ids[i], scratch->token_types[i], i);
    return CLOZE_OK;
}

cloze_status input_encoder_encode(const input_encoder *e, const example *ex, encoded_example *out,
                                  cloze_error *err) {
    out->n = out->n_masks = out->n_spans = out->n_cut = 0;
    return e->tmpl ? encode_template(e, ex, out, err) : encode_plain(e, ex, out, err);
}

cloze_status template_encode(const template_t *tmpl, const tokenizer *tok, const example *ex,
                             const input_options *opts, encoded_example *out, cloze_error *err) {
    input_encoder *e = NULL;
    CLOZE_TRY(input_encoder_create(tmpl, tok, opts, &e, err));
    cloze_status status = input_encoder_encode(e, ex, out, err);
    input_encoder_destroy(e);
    return status;
}
