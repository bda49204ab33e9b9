/* covers: src/model/config.c src/model/load.c src/model/save.c src/ckpt/name_map.c */
/* covers: src/ckpt/paddle_names.c src/model/paddle_config.c */
/* dictionary: model.dict */
/*
 * A model directory from anywhere: refused with a message, or a model that computes on any batch
 * and, saved, opens again. Input: a byte of switches, config.json, a NUL, and one tensor a line
 * ("name F32 sizes..."), of which a safetensors file is made; without any there is none.
 */
#include <math.h>

#include "autograd/ops.h"
#include "ckpt/checkpoint_write.h"
#include "ckpt/paddle_names.h"
#include "fuzz_files.h"
#include "model/model.h"

#define TENSORS_MAX 128
#define VALUES_MAX 40000 /* of all tensors, and parameters of a model worth building here */

static float values[VALUES_MAX];

/* "name dtype d0 d1": false for a line that is none. */
static bool parse_line(char *line, ckpt_item *item) {
    char *save = NULL, *name = strtok_r(line, " ", &save), *dtype = strtok_r(NULL, " ", &save);
    int64_t count = 1;
    *item = (ckpt_item){.name = name, .data = values};
    if (!dtype || !dtype_from_name(dtype, &item->dtype)) return false;
    for (char *d; (d = strtok_r(NULL, " ", &save)) != NULL && item->rank < CKPT_MAX_RANK;) {
        int64_t size = strtol(d, NULL, 10);
        if (size < 0 || size > 1000 || (count *= size) > VALUES_MAX / 2) return false;
        item->shape[item->rank++] = size;
    }
    return true;
}

static void put_tensors(const uint8_t *text, size_t n) {
    ckpt_item items[TENSORS_MAX];
    size_t n_items = 0;
    char *copy = mem_strndup((const char *)text, n), *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line && n_items < TENSORS_MAX;
         line = strtok_r(NULL, "\n", &save))
        n_items += parse_line(line, &items[n_items]);
    fuzz_put("model.safetensors", NULL, 0);
    if (n_items > 0) /* two of one name are refused: then there is no file */
        safetensors_write(fuzz_path("model.safetensors"), items, n_items, NULL, 0, NULL);
    mem_free(copy);
}

/* How many parameters a model would have, roughly. */
static double cost_of(const model_config *c) {
    double h = (double)c->hidden_size;
    double rows = (double)c->vocab_size + (double)c->max_position_embeddings +
                  (double)c->type_vocab_size + (double)c->task_type_vocab_size;
    return h * (2 * rows + 2 * h) +
           (double)c->num_hidden_layers * (h + 16) * (4 * h + 2 * (double)c->intermediate_size) +
           (double)c->num_labels * h;
}

static bool is_small(const uint8_t *text, size_t n) {
    model_config c;
    cloze_error err = {0};
    cloze_status status = model_config_parse((const char *)text, n, "fuzz", &c, &err);
    if (status != CLOZE_OK) {
        if (status != CLOZE_ERR_MODEL || !err.message[0]) abort();
        return true; /* model_open must say so, too */
    }
    bool small = cost_of(&c) < VALUES_MAX;
    model_config_deinit(&c);
    return small;
}

/* Hidden states and head of two short sequences; what they are does not matter. */
static void compute(model *m, bool with_grad) {
    static const int32_t offsets[] = {0, 3, 4};
    int32_t ids[4], first[2];
    const backend *be;
    backend_device *device;
    tape *t;
    cloze_error err = {0};
    int64_t vocab = model_get_config(m)->vocab_size;
    for (int i = 0; i < 4; i++) ids[i] = (int32_t)((i * 7 + 1) % vocab);
    nn_batch batch = {.n_seqs = 2, .n_tokens = 4, .offsets = offsets, .input_ids = ids};
    if (model_max_length(m) < 3) return;
    if (backend_find("cpu", &be, &err) != CLOZE_OK ||
        be->device_open(0, 1, &device, &err) != CLOZE_OK)
        abort();
    tape_options options = {be, device, DTYPE_F32};
    if (tape_create(&options, &t, &err) != CLOZE_OK) abort();
    tape_begin_step(t, with_grad, 1, NULL, 0);
    var *hidden = model_encode(t, m, &batch, false);
    model_first_rows(&batch, first);
    var *rows = op_gather_rows(t, hidden, first, 2);
    if (model_get_head(m) == MODEL_HEAD_MASKED_LM)
        model_masked_lm_logits(t, m, model_masked_lm_transform(t, m, rows), NULL, 0);
    if (model_get_head(m) == MODEL_HEAD_SEQUENCE_CLASSIFICATION) model_classify(t, m, rows);
    if (tape_status(t, &err) != CLOZE_OK) abort();
    tape_destroy(t);
    be->device_close(device);
}

/* Every name has one in PaddleNLP's spelling, its own where no rule is for it. */
static void respell(model *m) {
    const nn_state *state = model_get_state(m);
    char name[512];
    for (int i = 0; i < state->n_entries; i++) {
        paddle_name_of(state->entries[i].name, name, sizeof name);
        if (!name[0]) abort();
    }
}

static model *open_dir(const char *dir, const model_open_options *options) {
    model *m = NULL;
    cloze_error err = {0};
    cloze_status status = model_open(dir, options, &m, &err);
    if (status != CLOZE_OK && (m || status != CLOZE_ERR_MODEL || !err.message[0])) abort();
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t n;
    cloze_error err = {0};
    if (size == 0) return 0;
    unsigned choice = *data++;
    size--;
    const char *config = fuzz_part(&data, &size, &n);
    if (!is_small((const uint8_t *)config, n)) return 0;
    fuzz_put("config.json", config, n);
    put_tensors(data, size);
    model_open_options options = {.head = (model_head)(choice % 3),
                                  .num_labels = choice & 4 ? 3 : 0,
                                  .require_head = choice & 8};
    model *m = open_dir(fuzz_dir, &options);
    if (!m) return 0;
    compute(m, choice & 16);
    respell(m);
    const char *saved = fuzz_path("saved");
    if (dir_create(saved, &err) != CLOZE_OK || model_save(m, saved, DTYPE_F32, &err) != CLOZE_OK)
        abort();
    options.require_head = true;
    model *again = open_dir(saved, &options);
    if (!again || model_param_count(again) != model_param_count(m)) abort();
    model_destroy(again);
    model_destroy(m);
    return 0;
}
