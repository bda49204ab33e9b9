/* covers: src/prompt/labels.c */
/* dictionary: data.dict */
/* Label files of all forms: what is accepted is sorted, found by name, and reads back the same. */
#include <stdlib.h>
#include <string.h>

#include "prompt/labels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_labels(const label_set *labels) {
    label_set again;
    cloze_error err = {0};
    buf first, second;
    buf_init(&first, (size_t)1 << 24);
    buf_init(&second, (size_t)1 << 24);
    for (int32_t i = 0; i < labels->n; i++) {
        const label_entry *entry = &labels->entries[i];
        if (i > 0 && strcmp(labels->entries[i - 1].name, entry->name) >= 0) abort();
        if (label_set_find(labels, entry->name, strlen(entry->name)) != i || entry->n_words < 1)
            abort();
        label_set_nearest(labels, entry->words[0], strlen(entry->words[0]));
    }
    label_set_write_json(labels, &first);
    cloze_status status =
        label_set_parse_json(first.data, first.len, "again", CLOZE_ERR_MODEL, &again, NULL, &err);
    if (status != CLOZE_OK) abort();
    label_set_write_json(&again, &second);
    if (!buf_ok(&second) || strcmp(first.data, second.data) != 0) abort();
    label_set_deinit(&again);
    buf_deinit(&first);
    buf_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    label_set labels;
    cloze_error err = {0};
    buf notes;
    buf_init(&notes, (size_t)1 << 24);
    if (label_set_parse_text((const char *)data, size, "fuzz", &labels, &notes, &err) == CLOZE_OK)
        check_labels(&labels);
    else if (err.code != CLOZE_ERR_DATA || labels.n)
        abort();
    label_set_deinit(&labels);
    cloze_status status = label_set_parse_json((const char *)data, size, "fuzz", CLOZE_ERR_MODEL,
                                               &labels, &notes, &err);
    if (status == CLOZE_OK)
        check_labels(&labels);
    else if (status != CLOZE_ERR_MODEL || labels.n)
        abort();
    label_set_deinit(&labels);
    status = label_set_parse((const char *)data, size, "fuzz", &labels, &notes, &err);
    if (status == CLOZE_OK)
        check_labels(&labels);
    else if (status != CLOZE_ERR_DATA || labels.n)
        abort();
    label_set_deinit(&labels);
    buf_deinit(&notes);
    return 0;
}
