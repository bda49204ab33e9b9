/* covers: src/prompt/template.c src/prompt/template_parse.c */
/* dictionary: template.dict */
/* Templates, typed and saved: what is accepted must be written to a file that reads back the same.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "prompt/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const template_t *t) {
    template_t again;
    cloze_error err = {0};
    buf first, second;
    buf_init(&first, (size_t)1 << 24);
    buf_init(&second, (size_t)1 << 24);
    template_write_config(t, &first);
    if (!buf_ok(&first)) abort();
    if (template_parse_config(first.data, first.len, "again", &again, &err) != CLOZE_OK) abort();
    template_write_config(&again, &second);
    if (!buf_ok(&second) || strcmp(first.data, second.data) != 0) abort();
    if (template_fixed_masks(t) != template_fixed_masks(&again)) abort();
    template_check(t, CLOZE_ERR_USAGE, &err);
    template_deinit(&again);
    buf_deinit(&first);
    buf_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    template_t t;
    cloze_error err = {0};
    char *text = mem_strndup((const char *)data, size);
    cloze_status status = template_parse(text, &t, &err);
    if (status == CLOZE_OK)
        check_round_trip(&t);
    else if (status != CLOZE_ERR_USAGE || !err.message[0] || t.n_parts)
        abort();
    template_deinit(&t);
    status = template_parse_config(text, size, "fuzz", &t, &err);
    if (status == CLOZE_OK)
        check_round_trip(&t);
    else if (status != CLOZE_ERR_MODEL || !err.message[0] || t.n_parts)
        abort();
    template_deinit(&t);
    mem_free(text);
    return 0;
}
