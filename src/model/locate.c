/* Model names to directories: shipped models and the peers' caches. Nothing is downloaded. */
#include "model/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

/* dir as a heap string when it holds a config.json. */
static char *accept(const char *dir) {
    char *config = path_join(dir, "config.json");
    bool found = config && file_exists(config);
    mem_free(config);
    return found ? mem_strdup(dir) : NULL;
}

static char *accept_under(const char *parent, const char *middle, const char *name) {
    buf b;
    if (!parent || !*parent) return NULL;
    buf_init(&b, 65536);
    buf_printf(&b, "%s%s/%s", parent, middle, name);
    char *found = buf_ok(&b) ? accept(b.data) : NULL;
    buf_deinit(&b);
    return found;
}

/* The program's own directory, or "" when it cannot be told. */
static void program_dir(char out[4096]) {
    ssize_t n = readlink("/proc/self/exe", out, 4095);
    out[n > 0 ? n : 0] = 0;
    char *slash = strrchr(out, '/');
    if (slash) *slash = 0;
}

/* HUB/models--ORG--NAME/snapshots/HASH with a config.json: the last one in name order. */
static char *search_hub(const char *hub, const char *name) {
    char **entries, wanted[512], *found = NULL;
    size_t n;
    if (!hub || !file_is_dir(hub) || dir_list(hub, &entries, &n, NULL) != CLOZE_OK) return NULL;
    const char *slash = strchr(name, '/');
    if (slash)
        snprintf(wanted, sizeof wanted, "models--%.*s--%s", (int)(slash - name), name, slash + 1);
    else
        snprintf(wanted, sizeof wanted, "--%s", name);
    for (size_t i = 0; i < n && !found; i++) {
        size_t length = strlen(entries[i]), w = strlen(wanted);
        if (strncmp(entries[i], "models--", 8) != 0 || length < w ||
            strcmp(entries[i] + length - w, wanted) != 0)
            continue;
        char *model_dir = path_join(hub, entries[i]),
             *snapshots = model_dir ? path_join(model_dir, "snapshots") : NULL;
        char **hashes;
        size_t n_hashes;
        if (snapshots && file_is_dir(snapshots) &&
            dir_list(snapshots, &hashes, &n_hashes, NULL) == CLOZE_OK) {
            for (size_t k = n_hashes; k > 0 && !found; k--)
                found = accept_under(snapshots, "", hashes[k - 1]);
            dir_list_free(hashes, n_hashes);
        }
        mem_free(model_dir);
        mem_free(snapshots);
    }
    dir_list_free(entries, n);
    return found;
}

static char *search_caches(const char *name) {
    const char *home = getenv("HOME"), *hf_home = getenv("HF_HOME");
    char path[4096];
    char *found = search_hub(getenv("HF_HUB_CACHE"), name);
    if (!found && hf_home) {
        snprintf(path, sizeof path, "%s/hub", hf_home);
        found = search_hub(path, name);
    }
    if (!found && home) {
        snprintf(path, sizeof path, "%s/.cache/huggingface/hub", home);
        found = search_hub(path, name);
    }
    return found ? found : accept_under(home, "/.paddlenlp/models", name);
}

cloze_status model_locate(const char *name, char **out, cloze_error *err) {
    char program[4096];
    program_dir(program);
    *out = NULL;
    if (file_is_dir(name)) {
        *out = mem_strdup(name);
        if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory");
        return CLOZE_OK;
    }
    if (!*name) CLOZE_FAIL(err, USAGE, "the model's name is empty");
    if (!*out) *out = accept_under(getenv("CLOZE_MODELS"), "", name);
    if (!*out) *out = accept_under(".", "/models", name);
    if (!*out) *out = accept_under(program, "/models", name);
    if (!*out) *out = accept_under(program, "/../models", name);
    if (!*out) *out = accept_under(program, "/../share/cloze/models", name);
    if (!*out) *out = search_caches(name);
    if (*out) return CLOZE_OK;
    CLOZE_FAIL(err, MODEL,
               "%s: no such model directory, and no model of that name in ./models, $CLOZE_MODELS, "
               "the Hugging Face or the Paddle cache. "
               "Put config.json, vocab.txt and model.safetensors (or pytorch_model.bin) into a "
               "directory and give its path, or use "
               "the shipped model: --model_name_or_path cloze-mini-zh",
               name);
}
