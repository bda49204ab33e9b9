/*
 * inspect --prompt: how a template wraps a text, token by token, under PaddleNLP's keys or as a
 * table that says what became of each part and what was cut. Needs a vocabulary only.
 */
#include <string.h>

#include "api/api_internal.h"
#include "base/file.h"
#include "base/utf8.h"
#include "model/locate.h"
#include "prompt/input_encoder.h"

/* ---- the template and its example ---- */

/* --prompt, or the template of a trained run. */
static cloze_status read_template(const options *o, const char *dir, template_t *out,
                                  cloze_error *err) {
    if (o->prompt) {
        CLOZE_TRY(template_parse(o->prompt, out, err));
        return template_check(out, CLOZE_ERR_USAGE, err);
    }
    char *path = path_join(dir, "template_config.json");
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status =
        file_exists(path)
            ? template_read(path, out, err)
            : error_set(err, CLOZE_ERR_USAGE,
                        "--text needs --prompt TEMPLATE (%s holds no template of its own)", dir);
    mem_free(path);
    return status == CLOZE_OK ? template_check(out, CLOZE_ERR_MODEL, err) : status;
}

/* Fields with names of their own: the first one is --text, the second one --text_b. */
static void name_fields(const template_t *t, input_options *io) {
    for (int32_t i = 0; i < t->n_parts; i++) {
        const char *name = t->parts[i].value;
        if (t->parts[i].kind != TEMPLATE_TEXT || !name) continue;
        if (strcmp(name, "text_a") == 0 || strcmp(name, "text_b") == 0) continue;
        if (!io->text_field)
            io->text_field = name;
        else if (!io->text_b_field && strcmp(io->text_field, name) != 0)
            io->text_b_field = name;
    }
}

/* ---- JSON ---- */

static void put_array(buf *b, const char *key, const int32_t *values, int32_t n) {
    buf_printf(b, "\"%s\": [", key);
    for (int32_t i = 0; i < n; i++) buf_printf(b, "%s%d", i ? ", " : "", values[i]);
    buf_puts(b, "], ");
}

static void write_json(const encoded_example *e, buf *b) {
    buf_putc(b, '{');
    put_array(b, "input_ids", e->input_ids, e->n);
    put_array(b, "token_type_ids", e->token_type_ids, e->n);
    put_array(b, "position_ids", e->position_ids, e->n);
    put_array(b, "soft_token_ids", e->soft_token_ids, e->n);
    put_array(b, "encoder_ids", e->encoder_ids, e->n);
    put_array(b, "masked_positions", e->masked_positions, e->n_masks);
    buf_puts(b, "\"parts\": [");
    for (int32_t i = 0; i < e->n_spans; i++) {
        const input_span *s = &e->spans[i];
        buf_printf(b, "%s{\"kind\": \"%s\", \"part\": %d, \"begin\": %d, \"end\": %d}",
                   i ? ", " : "", template_kind_name(s->kind), s->part, s->begin, s->end);
    }
    buf_printf(b, "], \"cut\": %d}\n", e->n_cut);
}

/* ---- for people ---- */

static void put_tokens(const tokenizer *tok, const int32_t *ids, int32_t n, buf *b) {
    for (int32_t i = 0; i < n; i++) {
        const char *token = tokenizer_id_to_token(tok, ids[i]);
        buf_printf(b, "%s%s", i ? " " : "", token ? token : "?");
    }
}

/* The text of a text part, NULL for other parts. */
static const char *part_text(const options *o, const template_t *t, const input_options *io,
                             const input_span *s) {
    if (s->part < 0 || s->kind != TEMPLATE_TEXT) return NULL;
    const char *name = t->parts[s->part].value;
    if (!name) return NULL;
    bool second =
        strcmp(name, "text_b") == 0 || (io->text_b_field && strcmp(name, io->text_b_field) == 0);
    return second ? o->text_b : o->text;
}

/* "12 of 40 tokens; left out: ..." for a text that was cut (at its end: inspect has no other way).
 */
static cloze_status put_cut(const tokenizer *tok, const char *text, const input_span *s, buf *b,
                            cloze_error *err) {
    encoding e = {0};
    cloze_status status = tokenizer_encode_text(tok, text, strlen(text), &e, err);
    int32_t kept = s->end - s->begin;
    if (status == CLOZE_OK && e.n > kept) {
        buf_printf(b, "%24scut: %d of %d tokens left out: ", "", e.n - kept, e.n);
        put_tokens(tok, e.ids + kept, e.n - kept, b);
        buf_putc(b, '\n');
    }
    encoding_deinit(&e);
    return status;
}

static void put_part_name(const template_t *t, const input_span *s, buf *b) {
    char name[64];
    const char *value = s->part >= 0 ? t->parts[s->part].value : NULL;
    if (s->part >= 0 && s->kind == TEMPLATE_TEXT && value)
        snprintf(name, sizeof name, "text %.50s", value);
    else
        snprintf(name, sizeof name, "%s", s->part < 0 ? "special" : template_kind_name(s->kind));
    text_pad(b, name, strlen(name), 16);
}

static cloze_status write_text(const options *o, const tokenizer *tok, const template_t *t,
                               const input_options *io, const encoded_example *e, buf *b,
                               cloze_error *err) {
    buf_puts(b, "part            tokens  \n");
    for (int32_t i = 0; i < e->n_spans; i++) {
        const input_span *s = &e->spans[i];
        char range[32];
        if (s->end - s->begin > 1)
            snprintf(range, sizeof range, "%d-%d", s->begin, s->end - 1);
        else
            snprintf(range, sizeof range, s->end > s->begin ? "%d" : "-", s->begin);
        put_part_name(t, s, b);
        buf_printf(b, "%-8s", range);
        put_tokens(tok, e->input_ids + s->begin, s->end - s->begin, b);
        buf_putc(b, '\n');
        const char *text = part_text(o, t, io, s);
        if (text) CLOZE_TRY(put_cut(tok, text, s, b, err));
    }
    buf_printf(b, "\n%d tokens of at most %d; masks at", e->n, io->max_seq_length);
    for (int32_t i = 0; i < e->n_masks; i++)
        buf_printf(b, "%s %d", i ? "," : "", e->masked_positions[i]);
    if (e->n_cut)
        buf_printf(b, "; %d tokens were cut\n", e->n_cut);
    else
        buf_puts(b, "; nothing was cut\n");
    return CLOZE_OK;
}

static cloze_status encode(const options *o, const template_t *t, const tokenizer *tok, buf *text,
                           encoded_example *e, cloze_error *err) {
    input_options io = {.max_seq_length = (int32_t)o->max_seq_length};
    example ex = {.text = o->text,
                  .text_len = strlen(o->text),
                  .text_b = o->text_b,
                  .text_b_len = o->text_b ? strlen(o->text_b) : 0,
                  .label = -1,
                  .line = 1};
    name_fields(t, &io);
    if (!o->text_b && (template_uses_field(t, "text_b") || io.text_b_field))
        CLOZE_FAIL(err, USAGE, "the template has a second text: give it with --text_b");
    CLOZE_TRY(template_encode(t, tok, &ex, &io, e, err));
    if (!o->json) return write_text(o, tok, t, &io, e, text, err);
    write_json(e, text);
    return CLOZE_OK;
}

cloze_status inspect_prompt(const options *o, const char *dir, const tokenizer *tok, buf *text,
                            cloze_error *err) {
    template_t t = {0};
    encoded_example e = {0};
    if (!o->text) CLOZE_FAIL(err, USAGE, "--prompt needs --text TEXT, the text to wrap");
    cloze_status status = read_template(o, dir, &t, err);
    if (status == CLOZE_OK) status = encode(o, &t, tok, text, &e, err);
    encoded_example_deinit(&e);
    template_deinit(&t);
    return status;
}

cloze_status inspect_run(const options *o, const cloze_callbacks *callbacks, const output *out,
                         cloze_error *err) {
    char *dir = NULL;
    tokenizer *tok = NULL;
    buf text;
    CLOZE_TRY(api_need_model(o, "a model directory or a trained run", err));
    if (o->text_b && !o->text) CLOZE_FAIL(err, USAGE, "--text_b needs --text");
    buf_init(&text, (size_t)1 << 30);
    cloze_status status = api_open_tokenizer(o, &dir, &tok, err);
    bool has_data = OPTION_IS_SET(o, data_dir) || o->train_file;
    if (status == CLOZE_OK && has_data)
        status = inspect_forecast(o, callbacks, dir, &text, err);
    else if (status == CLOZE_OK)
        status = o->prompt || o->text ? inspect_prompt(o, dir, tok, &text, err)
                                      : inspect_model(dir, tok, o->json, &text, err);
    if (status == CLOZE_OK) status = output_flush(out, &text, err);
    buf_deinit(&text);
    tokenizer_destroy(tok);
    mem_free(dir);
    return status;
}
