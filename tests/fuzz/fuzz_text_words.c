/* covers: src/text/segment.c */
/* A word list from anywhere: refused with a message, or it cuts any text into words. Input: the
 * file, a NUL, a text. */
#include "base/mem.h"
#include "base/utf8.h"
#include "text/segment.h"
#include "fuzz_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    segmenter *s = NULL, *again = NULL;
    cloze_error err = {0};
    uint8_t *starts = NULL, *starts_again = NULL;
    fuzz_put_part("words.txt", &data, &size);
    if (!file_exists(fuzz_path("words.txt"))) return 0;
    cloze_status status = segmenter_read(fuzz_path("words.txt"), &s, &err);
    if (status != CLOZE_OK) {
        if (s || err.code != status || !err.message[0]) abort();
        return 0;
    }
    if (segmenter_write(s, fuzz_path("again.txt"), &err) != CLOZE_OK) abort();
    if (segmenter_word_count(s) > 0) { /* an empty file is refused */
        if (segmenter_read(fuzz_path("again.txt"), &again, &err) != CLOZE_OK) abort();
        const char *text = size ? (const char *)data : "";
        if (segmenter_word_starts(s, text, size, &starts, &err) != CLOZE_OK ||
            segmenter_word_starts(again, text, size, &starts_again, &err) != CLOZE_OK)
            abort();
        if (memcmp(starts, starts_again, utf8_count(text, utf8_valid_prefix(text, size)))) abort();
    }
    mem_free(starts);
    mem_free(starts_again);
    segmenter_destroy(again);
    segmenter_destroy(s);
    return 0;
}
