/* The files of a data directory: train.txt, dev.txt and so on, in any of the formats. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "prompt/dataset.h"

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

cloze_status data_dir_find(const char *dir, data_dir *out, cloze_error *err) {
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
    if (!file_is_dir(dir))
        CLOZE_FAIL(err, DATA, "%s: %s", dir,
                   file_exists(dir) ? "not a directory" : "there is no such directory");
    bool any = false;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        cloze_status status = find_file(dir, wanted[i].name, wanted[i].labels, wanted[i].path, err);
        if (status != CLOZE_OK) {
            data_dir_deinit(out);
            return status;
        }
        any = any || *wanted[i].path;
    }
    if (!any)
        CLOZE_FAIL(err, DATA,
                   "%s: no train.txt, dev.txt, test.txt, data.txt or label.txt in it (.tsv, "
                   ".json, .jsonl and .csv are found too)",
                   dir);
    return CLOZE_OK;
}

void data_dir_deinit(data_dir *d) {
    mem_free(d->train);
    mem_free(d->dev);
    mem_free(d->test);
    mem_free(d->unlabelled);
    mem_free(d->label);
    *d = (data_dir){0};
}
