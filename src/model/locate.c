/* Model names to directories: shipped models and the peers' caches. Nothing is downloaded. */
#include "model/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

/* A search: places are tried in turn until one is found or memory runs out. */
typedef struct search {
    const char *name;
    char *found;
    bool out_of_memory;
} search;

static bool is_over(const search *s) { return s->found || s->out_of_memory; }

/* Ends the search at dir when it holds a config.json. Takes dir; NULL is want of memory. */
static void accept(search *s, char *dir) {
    char *config = dir ? path_join(dir, "config.json") : NULL;
    if (!config) s->out_of_memory = true;
    if (config && file_exists(config))
        s->found = dir;
    else
        mem_free(dir);
    mem_free(config);
}

static void accept_under(search *s, const char *parent, const char *middle, const char *name) {
    buf b;
    if (is_over(s) || !parent || !*parent) return;
    buf_init(&b, SIZE_MAX / 2);
    buf_printf(&b, "%s%s/%s", parent, middle, name);
    accept(s, buf_take(&b));
}

/* The program's own directory, or "" when it cannot be told. */
static void program_dir(char out[4096]) {
    ssize_t n = readlink("/proc/self/exe", out, 4095);
    out[n > 0 ? n : 0] = 0;
    char *slash = strrchr(out, '/');
    if (slash) *slash = 0;
}

/* The sorted names in a directory; none when it cannot be read. */
static size_t list(search *s, const char *dir, char ***names) {
    size_t n = 0;
    if (is_over(s) || !file_is_dir(dir)) return 0;
    cloze_status status = dir_list(dir, names, &n, NULL);
    if (status == CLOZE_ERR_MEMORY) s->out_of_memory = true;
    return status == CLOZE_OK ? n : 0;
}

/* MODEL_DIR/snapshots/HASH with a config.json: the last one in name order. */
static void search_snapshots(search *s, const char *hub, const char *entry) {
    char **hashes = NULL, *model_dir = path_join(hub, entry),
         *snapshots = model_dir ? path_join(model_dir, "snapshots") : NULL;
    if (!snapshots) s->out_of_memory = true;
    size_t n = snapshots ? list(s, snapshots, &hashes) : 0;
    for (size_t i = n; i > 0; i--) accept_under(s, snapshots, "", hashes[i - 1]);
    if (hashes) dir_list_free(hashes, n);
    mem_free(model_dir);
    mem_free(snapshots);
}

/* HUB/models--ORG--NAME, or of any owner and of none where the name has no slash. */
static void search_hub(search *s, const char *hub) {
    char **entries = NULL, wanted[512];
    const char *slash = strchr(s->name, '/');
    if (!hub) return;
    if (slash)
        snprintf(wanted, sizeof wanted, "models--%.*s--%s", (int)(slash - s->name), s->name,
                 slash + 1);
    else
        snprintf(wanted, sizeof wanted, "--%s", s->name);
    size_t n = list(s, hub, &entries), w = strlen(wanted);
    for (size_t i = 0; i < n && !is_over(s); i++) {
        size_t length = strlen(entries[i]);
        if (strncmp(entries[i], "models--", 8) == 0 && length >= w &&
            strcmp(entries[i] + length - w, wanted) == 0)
            search_snapshots(s, hub, entries[i]);
    }
    if (entries) dir_list_free(entries, n);
}

static void search_caches(search *s) {
    const char *home = getenv("HOME"), *hf_home = getenv("HF_HOME");
    char path[4096];
    search_hub(s, getenv("HF_HUB_CACHE"));
    if (hf_home) {
        snprintf(path, sizeof path, "%s/hub", hf_home);
        search_hub(s, path);
    }
    if (home) {
        snprintf(path, sizeof path, "%s/.cache/huggingface/hub", home);
        search_hub(s, path);
    }
    accept_under(s, home, "/.paddlenlp/models", s->name);
}

cloze_status model_locate(const char *name, char **out, cloze_error *err) {
    char program[4096];
    search s = {.name = name};
    *out = NULL;
    if (!*name) CLOZE_FAIL(err, USAGE, "the model's name is empty");
    if (file_is_dir(name)) {
        *out = mem_strdup(name);
        if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory");
        return CLOZE_OK;
    }
    program_dir(program);
    accept_under(&s, getenv("CLOZE_MODELS"), "", name);
    accept_under(&s, ".", "/models", name);
    accept_under(&s, program, "/models", name);
    accept_under(&s, program, "/../models", name);
    accept_under(&s, program, "/../share/cloze/models", name);
    search_caches(&s);
    *out = s.found;
    if (s.found) return CLOZE_OK;
    if (s.out_of_memory)
        CLOZE_FAIL(err, MEMORY, "out of memory looking for the model %.200s", name);
    CLOZE_FAIL(err, MODEL,
               "%.200s: no such model directory, and no model of that name in ./models, "
               "$CLOZE_MODELS, the Hugging Face or the Paddle cache. "
               "Put config.json, vocab.txt and model.safetensors (or pytorch_model.bin) into a "
               "directory and give its path, or use "
               "the shipped model: --model_name_or_path cloze-mini-zh",
               name);
}
