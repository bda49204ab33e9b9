/* Writing a model directory that transformers' from_pretrained reads: config.json and
 * model.safetensors. */
#include <string.h>

#include "base/file.h"
#include "ckpt/checkpoint_write.h"
#include "model/load.h"

static cloze_status write_config(const model *m, const char *dir, cloze_dtype dtype,
                                 cloze_error *err) {
    const char *dtype_text = dtype == DTYPE_BF16  ? "bfloat16"
                             : dtype == DTYPE_F16 ? "float16"
                                                  : "float32";
    cJSON *json = cJSON_Duplicate(m->config.json, 1);
    cJSON *architectures = cJSON_CreateArray();
    const char *architecture = m->config.def->architectures[m->head];
    if (json && architectures) {
        cJSON_AddItemToArray(architectures, cJSON_CreateString(architecture));
        cJSON_DeleteItemFromObjectCaseSensitive(json, "architectures");
        cJSON_AddItemToObject(json, "architectures", architectures);
        cJSON_DeleteItemFromObjectCaseSensitive(json, "dtype");
        cJSON_DeleteItemFromObjectCaseSensitive(json, "torch_dtype");
        cJSON_AddStringToObject(json, "torch_dtype", dtype_text);
    }
    char *text = json && architectures ? json_print(json) : NULL;
    cJSON_Delete(json);
    char *path = path_join(dir, "config.json");
    cloze_status status = CLOZE_OK;
    if (!text || !path)
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory writing %s/config.json", dir);
    else
        status = file_write_atomic(path, text, strlen(text), err);
    mem_free(text);
    mem_free(path);
    return status;
}

/* f32 copies of values that are stored in another dtype than the one asked for. */
static cloze_status convert(const param *p, cloze_dtype dtype, float **copy, cloze_error *err) {
    *copy = NULL;
    if (p->w.t.dtype == DTYPE_F32 || p->w.t.dtype == dtype) return CLOZE_OK;
    size_t n = (size_t)(p->w.t.rows * p->w.t.cols);
    *copy = mem_alloc(n * sizeof **copy);
    if (!*copy) CLOZE_FAIL(err, MEMORY, "out of memory writing %s", p->name);
    dtype_to_f32(*copy, p->w.t.data, p->w.t.dtype, n);
    return CLOZE_OK;
}

static ckpt_item item_of(const nn_entry *e, cloze_dtype dtype, const float *copy) {
    const param *p = e->param;
    bool from_f32 = copy || p->w.t.dtype == DTYPE_F32;
    int64_t begin = p->rank == 1 ? e->row_begin : e->row_begin * p->w.t.cols;
    const char *base = copy ? (const char *)copy : p->w.t.data;
    ckpt_item item = {
        .name = e->name,
        .dtype = dtype,
        .rank = p->rank,
        .shape = {e->rows, p->w.t.cols},
        .data = base + (size_t)begin * (from_f32 ? sizeof(float) : dtype_size(dtype)),
        .from_f32 = from_f32,
    };
    if (p->rank == 1) item.shape[1] = 0;
    return item;
}

cloze_status model_save(const model *m, const char *dir, cloze_dtype dtype, cloze_error *err) {
    const nn_state *s = &m->state;
    ckpt_item *items = NULL;
    float **copies = NULL; /* (n_params), parallel to s->params */
    char *path = NULL;
    cloze_status status = write_config(m, dir, dtype, err);
    if (status != CLOZE_OK) return status;
    items = mem_calloc((size_t)s->n_entries + 1, sizeof *items);
    copies = mem_calloc((size_t)s->n_params + 1, sizeof *copies);
    path = path_join(dir, "model.safetensors");
    if (!items || !copies || !path)
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory writing %s", dir);
    for (int i = 0; i < s->n_params && status == CLOZE_OK; i++)
        status = convert(s->params[i], dtype, &copies[i], err);
    for (int i = 0; i < s->n_entries && status == CLOZE_OK; i++) {
        int k = 0;
        while (s->params[k] != s->entries[i].param) k++;
        items[i] = item_of(&s->entries[i], dtype, copies[k]);
    }
    if (status == CLOZE_OK)
        status = safetensors_write(path, items, (size_t)s->n_entries, NULL, 0, err);
    for (int i = 0; copies && i < s->n_params; i++) mem_free(copies[i]);
    mem_free(copies);
    mem_free(items);
    mem_free(path);
    return status;
}
