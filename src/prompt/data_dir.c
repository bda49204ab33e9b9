/* The files of a data directory: train.txt, dev.txt and so on, in any of the formats. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "prompt/dataset.h"

#define NEARBY_MAX 400

/* dir/name.extension for the first extension that exists; *out NULL when none does. */
static cloze_status find_file(const char *dir, const char *name, bool labels, char **out,
                              cloze_error *err) {
    static const char *const extensions[] = {"txt", "json", "tsv", "jsonl", "csv"};
    int n = labels ? 2 : 5;
    char file[32];
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%s.%s", name, extensions[i]);
        char *path = path_join(dir, file);
        if (!path) CLOZE_FAIL(err, MEMORY, "out of memory (path names)");
        if (file_exists(path) && !file_is_dir(path)) {
            *out = path;
            return CLOZE_OK;
        }
        mem_free(path);
    }
    return CLOZE_OK;
}

static bool holds_training_file(const char *dir) {
    char *found = NULL;
    bool is = find_file(dir, "train", false, &found, NULL) == CLOZE_OK && found;
    mem_free(found);
    return is;
}

/* The directory just below, or just above, that holds a training file: archives unpack into one
 * more directory than expected, or one less. "" = there is none. */
static void find_nearby(const char *dir, char out[NEARBY_MAX]) {
    char **names = NULL, above[NEARBY_MAX];
    size_t n = 0, length = strlen(dir);
    out[0] = '\0';
    if (file_is_dir(dir) && dir_list(dir, &names, &n, NULL) == CLOZE_OK) {
        for (size_t i = 0; i < n && !out[0]; i++) {
            char *below = path_join(dir, names[i]);
            if (below && file_is_dir(below) && holds_training_file(below))
                snprintf(out, NEARBY_MAX, "; %.300s has them", below);
            mem_free(below);
        }
        dir_list_free(names, n);
    }
    while (length > 1 && dir[length - 1] == '/') length--;
    while (length > 0 && dir[length - 1] != '/') length--;
    if (out[0] || file_exists(dir) || length == 0 || length >= sizeof above) return;
    memcpy(above, dir, length);
    above[length > 1 ? length - 1 : length] = '\0';
    if (holds_training_file(above)) snprintf(out, NEARBY_MAX, "; %.300s holds train.txt", above);
}

cloze_status data_dir_find(const char *dir, data_dir *out, cloze_error *err) {
    char nearby[NEARBY_MAX];
    const struct {
        const char *name;
        char **path;
        bool labels;
    } wanted[] = {
        {"train", &out->train, false}, {"dev", &out->dev, false},
        {"test", &out->test, false},   {"data", &out->unlabelled, false},
        {"label", &out->label, true},
    };
    *out = (data_dir){0};
    if (!file_is_dir(dir)) {
        find_nearby(dir, nearby);
        CLOZE_FAIL(err, DATA, "%s: %s%s", dir,
                   file_exists(dir) ? "not a directory" : "there is no such directory",
                   nearby[0] ? nearby : "; name one with --data_dir, or files with --train_file");
    }
    bool any = false;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        cloze_status status = find_file(dir, wanted[i].name, wanted[i].labels, wanted[i].path, err);
        if (status != CLOZE_OK) {
            data_dir_deinit(out);
            return status;
        }
        any = any || *wanted[i].path;
    }
    if (any) return CLOZE_OK;
    find_nearby(dir, nearby);
    CLOZE_FAIL(err, DATA,
               "%s: no train.txt, dev.txt, test.txt, data.txt or label.txt in it (.tsv, .json, "
               ".jsonl and .csv are found too)%s",
               dir, nearby);
}

void data_dir_deinit(data_dir *d) {
    mem_free(d->train);
    mem_free(d->dev);
    mem_free(d->test);
    mem_free(d->unlabelled);
    mem_free(d->label);
    *d = (data_dir){0};
}
