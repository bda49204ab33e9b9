/*
 * Opening a checkpoint: which files, in which format, and the checks that every tensor passes
 * whatever the format. Reading of values is in ckpt_read.c.
 */
#include "ckpt/checkpoint.h"

#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "ckpt/ckpt_internal.h"

#define INDEX_BYTES_MAX ((size_t)256 << 20)
#define NAME_BYTES_MAX 4096

/* Room for one more element in a growing array of the checkpoint. */
#define GROW(err, array, n, cap)                                                                  \
    do {                                                                                          \
        if ((n) == (cap)) {                                                                       \
            size_t cap_ = (cap) ? 2 * (cap) : 16;                                                 \
            void *new_ = mem_realloc((array), (cap) * sizeof *(array), cap_ * sizeof *(array));   \
            if (!new_) CLOZE_FAIL(err, MEMORY, "out of memory (%zu tensors)", cap_);              \
            (array) = new_;                                                                       \
            (cap) = cap_;                                                                         \
        }                                                                                         \
    } while (0)

static cloze_status out_of_memory(cloze_error *err)
{
    CLOZE_FAIL(err, MEMORY, "out of memory while opening a checkpoint");
}

const char *ckpt_printable(const char *text, size_t len, char *out, size_t out_size)
{
    size_t n = len < out_size - 1 ? len : out_size - 1;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)text[i];
        out[i] = ch >= 0x20 && ch < 0x7f ? (char)ch : '?';
    }
    out[n] = '\0';
    return out;
}

/* A file of the checkpoint without its bytes yet. */
static cloze_status add_file(ckpt *c, const char *path, ckpt_file **out, cloze_error *err)
{
    GROW(err, c->files, c->n_files, c->cap_files);
    ckpt_file *f = arena_alloc(&c->arena, sizeof *f); /* zeroed */
    if (!f) return out_of_memory(err);
    f->path = arena_strdup(&c->arena, path);
    if (!f->path) return out_of_memory(err);
    c->files[c->n_files++] = f;
    *out = f;
    return CLOZE_OK;
}

cloze_status ckpt_alloc_owned(ckpt *c, size_t bytes, void **out, cloze_error *err)
{
    GROW(err, c->owned, c->n_owned, c->cap_owned);
    *out = mem_alloc(bytes);
    if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes for a stored tensor)", bytes);
    c->owned[c->n_owned++] = *out;
    return CLOZE_OK;
}

cloze_status ckpt_add_metadata(ckpt *c, const char *key, const char *value, cloze_error *err)
{
    GROW(err, c->pairs, c->n_pairs, c->cap_pairs);
    ckpt_pair pair = {arena_strdup(&c->arena, key), arena_strdup(&c->arena, value)};
    if (!pair.key || !pair.value) return out_of_memory(err);
    c->pairs[c->n_pairs++] = pair;
    return CLOZE_OK;
}

cloze_status ckpt_swap_bytes(ckpt *c, const uint8_t *data, size_t bytes, size_t size,
                             const uint8_t **out, cloze_error *err)
{
    void *block;
    CLOZE_TRY(ckpt_alloc_owned(c, bytes, &block, err));
    uint8_t *swapped = block;
    for (size_t i = 0; i + size <= bytes; i += size) {
        for (size_t k = 0; k < size; k++) swapped[i + k] = data[i + size - 1 - k];
    }
    *out = swapped;
    return CLOZE_OK;
}

/* Fills t's shape, strides and sizes from v, and checks that every element lies in the storage. */
static cloze_status check_view(const ckpt_view *v, ckpt_tensor *t, cloze_error *err)
{
    const char *file = v->file->path;
    if (v->rank < 0 || v->rank > CKPT_MAX_RANK)
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has %lld dimensions; at most %d are possible", file,
                   t->name, (long long)v->rank, CKPT_MAX_RANK);
    t->rank = (int)v->rank;
    int64_t count = 1, bytes = 0, row_major = 1, last = v->offset;
    for (int i = t->rank - 1; i >= 0; i--) {
        int64_t size = v->shape[i], stride = v->has_stride ? v->stride[i] : row_major, reach;
        if (size < 0 || stride < 0)
            CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has a negative size or stride", file, t->name);
        /* An empty tensor reaches nothing, but its other sizes must not overflow either. */
        if (__builtin_mul_overflow(row_major, size > 0 ? size : 1, &row_major) ||
            __builtin_mul_overflow(size > 0 ? size - 1 : 0, stride, &reach) ||
            __builtin_add_overflow(last, reach, &last))
            CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has a shape whose size overflows", file,
                       t->name);
        count = size == 0 ? 0 : count * size;
        t->shape[i] = size;
        t->stride[i] = stride;
    }
    for (int i = t->rank; i < CKPT_MAX_RANK; i++) t->shape[i] = 1;
    int64_t element = (int64_t)dtype_size(v->dtype), end;
    if (v->offset < 0 || __builtin_mul_overflow(row_major, element, &bytes) ||
        __builtin_add_overflow(last, 1, &end) || __builtin_mul_overflow(end, element, &end))
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has a shape whose size overflows", file, t->name);
    if (count > 0 && (uint64_t)end > v->storage_bytes)
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' needs %lld bytes, but its storage has %zu", file,
                   t->name, (long long)end, v->storage_bytes);
    t->count = count;
    t->bytes = (size_t)(count * element);
    return CLOZE_OK;
}

static bool is_contiguous(const ckpt_tensor *t)
{
    int64_t expected = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] == 1) continue; /* never stepped over, so any stride will do */
        if (t->stride[i] != expected) return t->count == 0;
        expected *= t->shape[i];
    }
    return true;
}

cloze_status ckpt_add_view(ckpt *c, const ckpt_view *v, cloze_error *err)
{
    char shown[96];
    const char *file = v->file->path;
    if (v->name_len == 0 || v->name_len > NAME_BYTES_MAX || memchr(v->name, 0, v->name_len) ||
        utf8_valid_prefix(v->name, v->name_len) != v->name_len)
        CLOZE_FAIL(err, MODEL, "%s: a tensor name is empty, too long or not UTF-8: '%s'", file,
                   ckpt_printable(v->name, v->name_len, shown, sizeof shown));
    if (hash_map_get(&c->index, v->name, v->name_len, -1) >= 0)
        CLOZE_FAIL(err, MODEL, "%s: tensor '%.*s' is there twice", file, (int)v->name_len, v->name);
    if (c->n_tensors >= INT32_MAX) CLOZE_FAIL(err, MODEL, "%s: too many tensors", file);
    GROW(err, c->tensors, c->n_tensors, c->cap_tensors);
    char *name = arena_alloc(&c->arena, v->name_len + 1); /* zeroed: NUL-terminated */
    if (!name) return out_of_memory(err);
    memcpy(name, v->name, v->name_len);

    ckpt_tensor t = {
        .name = name, .file = file, .dtype = v->dtype, .mapped = v->mapped && v->file->mapped};
    CLOZE_TRY(check_view(v, &t, err));
    t.data = t.count > 0 ? v->storage + (size_t)v->offset * dtype_size(v->dtype) : v->storage;
    t.contiguous = is_contiguous(&t);
    t.aligned = (uintptr_t)t.data % dtype_size(v->dtype) == 0;
    CLOZE_TRY(hash_map_put(&c->index, name, v->name_len, (int32_t)c->n_tensors, err));
    c->tensors[c->n_tensors++] = t;
    return CLOZE_OK;
}

static bool starts_with(const ckpt_file *f, const char *bytes, size_t n)
{
    return f->map.size >= n && memcmp(f->map.data, bytes, n) == 0;
}

/* One file, its format told by its first bytes. */
static cloze_status read_content(ckpt *c, const ckpt_file *f, cloze_error *err)
{
    if (starts_with(f, "PK\003\004", 4)) {
        c->format = "torch";
        return torch_read_zip(c, f, err);
    }
    if (torch_is_legacy(f->map.data, f->map.size)) {
        c->format = "torch (legacy)";
        return torch_read_legacy(c, f, err);
    }
    if (f->map.size > 8 && f->map.data[8] == '{') {
        c->format = "safetensors";
        return safetensors_read(c, f, err);
    }
    if (f->map.size > 2 && f->map.data[0] == 0x80 && f->map.data[1] <= 5) {
        c->format = "paddle";
        return paddle_read(c, f, err);
    }
    if (starts_with(f, "version https://git-lfs", 23))
        CLOZE_FAIL(err, MODEL, "%s is a Git LFS pointer, not the weights: run `git lfs pull` there",
                   f->path);
    CLOZE_FAIL(err, MODEL, "%s is neither safetensors nor a torch or Paddle checkpoint%s", f->path,
               f->map.size < 16 ? " (the file is cut short)" : "");
}

static cloze_status read_file(ckpt *c, const char *path, cloze_error *err)
{
    ckpt_file *f;
    CLOZE_TRY(add_file(c, path, &f, err));
    CLOZE_TRY(file_map_open(path, CLOZE_ERR_MODEL, &f->map, err));
    f->mapped = true;
    return read_content(c, f, err);
}

/* A shard is named by a file that may come from anywhere: only a plain name beside it will do. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\');
}

/* Opens the shard `name` of the index at index_path unless one of its tensors came earlier. */
static cloze_status read_shard(ckpt *c, const char *index_path, const char *name, hash_map *opened,
                               cloze_error *err)
{
    if (hash_map_get(opened, name, strlen(name), -1) >= 0) return CLOZE_OK;
    char shown[96];
    if (!is_plain_name(name))
        CLOZE_FAIL(err, MODEL, "%s: shard '%s' is not a plain file name in the same directory",
                   index_path, ckpt_printable(name, strlen(name), shown, sizeof shown));
    CLOZE_TRY(hash_map_put(opened, name, strlen(name), (int32_t)c->n_files, err));
    size_t dir_len = (size_t)(path_base(index_path) - index_path);
    char *path = arena_alloc(&c->arena, dir_len + strlen(name) + 1); /* zeroed */
    if (!path) return out_of_memory(err);
    memcpy(path, index_path, dir_len);
    memcpy(path + dir_len, name, strlen(name));
    if (!file_exists(path))
        CLOZE_FAIL(err, MODEL, "%s is missing: shard '%s' is named by %s", path, name,
                   path_base(index_path));
    return read_file(c, path, err);
}

/* Every tensor that the index promises must be in the shard that it names. */
static cloze_status check_weight_map(const ckpt *c, const char *index_path, const cJSON *weight_map,
                                     cloze_error *err)
{
    for (const cJSON *item = weight_map->child; item; item = item->next) {
        const ckpt_tensor *t = ckpt_find(c, item->string);
        if (!t || strcmp(path_base(t->file), item->valuestring) != 0)
            CLOZE_FAIL(err, MODEL, "%s: tensor '%s' is not in shard %s", index_path, item->string,
                       item->valuestring);
    }
    return CLOZE_OK;
}

static cloze_status read_shards(ckpt *c, const char *index_path, const cJSON *root,
                                cloze_error *err)
{
    const cJSON *weight_map = cJSON_GetObjectItemCaseSensitive(root, "weight_map");
    if (!cJSON_IsObject(weight_map) || !weight_map->child)
        CLOZE_FAIL(err, MODEL, "%s: no \"weight_map\" with tensor names and shards", index_path);
    hash_map opened;
    CLOZE_TRY(hash_map_init(&opened, 64, err));
    cloze_status status = CLOZE_OK;
    for (const cJSON *item = weight_map->child; item; item = item->next) {
        if (!cJSON_IsString(item)) {
            status = error_set(err, CLOZE_ERR_MODEL, "%s: the shard of tensor '%s' is not a string",
                               index_path, item->string);
            goto done;
        }
        CLOZE_TRY_GOTO(status, read_shard(c, index_path, item->valuestring, &opened, err), done);
    }
    status = check_weight_map(c, index_path, weight_map, err);
done:
    hash_map_deinit(&opened);
    return status;
}

static cloze_status read_index(ckpt *c, const char *index_path, cloze_error *err)
{
    cJSON *root = NULL;
    CLOZE_TRY(json_parse_file(index_path, INDEX_BYTES_MAX, CLOZE_ERR_MODEL, &root, err));
    cloze_status status = read_shards(c, index_path, root, err);
    json_destroy(root);
    return status;
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

static cloze_status read_path(ckpt *c, const char *path, cloze_error *err)
{
    return ends_with(path, ".index.json") ? read_index(c, path, err) : read_file(c, path, err);
}

/* NAME.pdparams as PaddleNLP's cache has it; what lies beside a model under fixed names is none. */
static bool is_named_pdparams(const char *name)
{
    static const char *const others[] = {"scheduler.pdparams", "template_state.pdparams",
                                         "verbalizer_state.pdparams", "prompt.pdparams"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(name, others[i]) == 0) return false;
    return ends_with(name, ".pdparams");
}

/* The path of the one such file in dir (mem_free), or NULL. */
static char *find_named_pdparams(const char *dir)
{
    char **names = NULL, *path = NULL;
    size_t n = 0, n_found = 0;
    if (dir_list(dir, &names, &n, NULL) != CLOZE_OK) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (!is_named_pdparams(names[i])) continue;
        mem_free(path);
        path = n_found++ == 0 ? path_join(dir, names[i]) : NULL;
    }
    dir_list_free(names, n);
    return path;
}

static const char *const candidates[] = {
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "pytorch_model.bin.index.json", "model_state.pdparams", "model_state.pdparams.index.json"};

bool ckpt_dir_has_weights(const char *dir)
{
    bool found = false;
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates && !found; i++) {
        char *path = path_join(dir, candidates[i]);
        found = path && file_exists(path);
        mem_free(path);
    }
    char *named = found ? NULL : find_named_pdparams(dir);
    found = found || named;
    mem_free(named);
    return found;
}

static cloze_status read_dir(ckpt *c, const char *dir, cloze_error *err)
{
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        char *path = path_join(dir, candidates[i]);
        if (!path) return out_of_memory(err);
        bool found = file_exists(path);
        cloze_status status = found ? read_path(c, path, err) : CLOZE_OK;
        mem_free(path);
        if (found) return status;
    }
    char *named = find_named_pdparams(dir);
    if (named) {
        cloze_status status = read_file(c, named, err);
        mem_free(named);
        return status;
    }
    CLOZE_FAIL(err, MODEL, "%s: no weights: put model.safetensors, pytorch_model.bin (or their "
               "shards with the .index.json) or model_state.pdparams there", dir);
}

static cloze_status create(ckpt **out, cloze_error *err)
{
    MEM_NEW(err, *out, 1);
    arena_init(&(*out)->arena, 64 << 10);
    (*out)->format = "empty";
    return hash_map_init(&(*out)->index, 512, err);
}

/* Gives c to the caller, or ends it when it failed. */
static cloze_status finish(cloze_status status, ckpt *c, ckpt **out)
{
    if (status != CLOZE_OK) ckpt_close(c);
    else *out = c;
    return status;
}

cloze_status ckpt_open(const char *path, ckpt **out, cloze_error *err)
{
    ckpt *c = *out = NULL;
    cloze_status status = create(&c, err);
    if (status == CLOZE_OK)
        status = file_is_dir(path) ? read_dir(c, path, err) : read_path(c, path, err);
    return finish(status, c, out);
}

cloze_status ckpt_open_memory(const void *data, size_t n, const char *what, ckpt **out,
                              cloze_error *err)
{
    ckpt *c = *out = NULL;
    ckpt_file *f;
    cloze_status status = create(&c, err);
    if (status == CLOZE_OK) status = add_file(c, what, &f, err);
    if (status == CLOZE_OK) {
        f->map = (file_map){data, n};
        status = read_content(c, f, err);
    }
    return finish(status, c, out);
}

void ckpt_close(ckpt *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->n_files; i++) {
        if (c->files[i]->mapped) file_map_close(&c->files[i]->map);
    }
    for (size_t i = 0; i < c->n_owned; i++) mem_free(c->owned[i]);
    mem_free(c->files);
    mem_free(c->owned);
    mem_free(c->tensors);
    mem_free(c->pairs);
    hash_map_deinit(&c->index);
    arena_deinit(&c->arena);
    mem_free(c);
}
