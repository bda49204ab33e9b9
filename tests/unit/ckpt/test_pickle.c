/* ckpt/pickle: what the machine understands, and what it refuses by name and position. */
#include "ckpt_test.h"

#include "ckpt/pickle.h"

static const pickle_global globals[] = {{"collections", "OrderedDict", 1}, {"torch", "Size", 2}};

static cloze_status parse(pickle *p, const char *bytes, size_t n, cloze_error *err)
{
    return pickle_init(p, (const uint8_t *)bytes, n, "file", globals, COUNT(globals), err);
}

#define BYTES(text) text, sizeof(text) - 1

static void test_refused(void **state)
{
    static const struct { const char *bytes; size_t n; const char *fragment; } rows[] = {
        {BYTES(""), "byte 0: no STOP opcode"},
        {BYTES("\x80"), "1 bytes are wanted, but 0 are left"},
        {BYTES("\x80\x02"), "byte 2: no STOP opcode"},
        {BYTES("\x80\x01N."), "protocol 1"},
        {BYTES("\x80\x06N."), "protocol 6"},
        {BYTES("."), "the stack is empty"},
        {BYTES("(."), "the stack is empty"},
        {BYTES("Nc__builtin__\neval\n."), "byte 1: global __builtin__.eval is refused"},
        {BYTES("cposix\nsystem\n(U\002lstR."), "byte 0: global posix.system is refused"},
        {BYTES("ccollections\nOrdered\n."), "global collections.Ordered is refused"},
        {BYTES("ccollections\nOrderedDictX\n."), "OrderedDictX is refused"},
        {BYTES("\x8c\005posix\x8c\006system\x93."), "byte 15: global posix.system is refused"},
        {BYTES("K\001K\002\x93."), "a global whose name is not a string"},
        {BYTES("cab\x1b[2Jc\nd\xff\n."), "global ab?[2Jc.d? is refused"},
        {BYTES("ccollections"), "a name without an end"},
        {BYTES("ccollections\nOrderedDict"), "a name without an end"},
        {BYTES("(cos\nsystem\no."), "global os.system is refused"},
        {BYTES("N(ios\nsystem\n."), "byte 2: opcode INST (0x69) is refused"},
        {BYTES("N\x81."), "opcode NEWOBJ (0x81) is refused"},
        {BYTES("\x82\001."), "opcode EXT1 (0x82) is refused"},
        {BYTES("Pid\n."), "opcode PERSID (0x50) is refused"},
        {BYTES("NN\x92."), "opcode NEWOBJ_EX (0x92)"},
        {BYTES("\xfe."), "opcode unknown (0xfe)"},
        {BYTES("K\001)R."), "a call of something that is no known function"},
        {BYTES("ccollections\nOrderedDict\nNR."), "a call of something"},
        {BYTES("}Nb."), "a state for something that is no object"},
        {BYTES("]K\001Nu."), "no mark"},
        {BYTES("](K\001Nu."), "items for something that is no dict"},
        {BYTES("}(K\001u."), "a dict key without a value"},
        {BYTES("}(K\001e."), "items for something that is no list"},
        {BYTES("(K\001e."), "no container below"},
        {BYTES("a."), "the stack is empty"},
        {BYTES("]a."), "the stack is empty"},
        {BYTES("](a."), "the stack is empty"},
        {BYTES("}K\001s."), "the stack is empty"},
        {BYTES("K\001\x86."), "the stack is empty"},
        {BYTES("K\001(\x85."), "the stack is empty"},
        {BYTES("t."), "no mark on the stack"},
        {BYTES("Q."), "the stack is empty"},
        {BYTES("h\000."), "memo number 0 was never set"},
        {BYTES("Nq\001h\000."), "memo number 0 was never set"},
        {BYTES("Nr\xff\xff\xff\x7f."), "memo number 2147483647 is out of range"},
        {BYTES("q\000."), "the stack is empty"},
        {BYTES("\x94."), "the stack is empty"},
        {BYTES("X\xff\xff\xff\xff" "abc."), "4294967295 bytes are wanted"},
        {BYTES("\x8d\xff\xff\xff\xff\xff\xff\xff\xff" "abc."), "bytes are wanted, but 4 are left"},
        {BYTES("\x8a\x09" "123456789."), "an integer of 9 bytes"},
        {BYTES("G1234."), "8 bytes are wanted"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        pickle p;
        cloze_error err = {0};
        cloze_status status = parse(&p, rows[i].bytes, rows[i].n, &err);
        if (status != CLOZE_ERR_MODEL || !strstr(err.message, rows[i].fragment))
            fail_msg("wanted %s, got (%d) %s", rows[i].fragment, status, err.message);
        pickle_deinit(&p);
    }
}

static void test_values(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        pickle_kind kind;
        int64_t integer;
    } rows[] = {
        {BYTES("N."), PICKLE_NONE, 0},
        {BYTES("\x88."), PICKLE_BOOL, 1},
        {BYTES("\x89."), PICKLE_BOOL, 0},
        {BYTES("K\xff."), PICKLE_INT, 255},
        {BYTES("M\xff\xff."), PICKLE_INT, 65535},
        {BYTES("J\xff\xff\xff\xff."), PICKLE_INT, -1},
        {BYTES("J\xff\xff\xff\x7f."), PICKLE_INT, INT32_MAX},
        {BYTES("\x8a\000."), PICKLE_INT, 0},
        {BYTES("\x8a\001\x80."), PICKLE_INT, -128},
        {BYTES("\x8a\002\x80\000."), PICKLE_INT, 128},
        {BYTES("\x8a\005\000\000\000\000\001."), PICKLE_INT, (int64_t)1 << 32},
        {BYTES("\x8a\x08\000\000\000\000\000\000\000\x80."), PICKLE_INT, INT64_MIN},
        {BYTES("\x95\001\000\000\000\000\000\000\000K\007."), PICKLE_INT, 7},
        {BYTES("K\007q\000N\x85q\001h\000."), PICKLE_INT, 7},
        {BYTES("K\007r\000\000\000\000j\000\000\000\000."), PICKLE_INT, 7},
        {BYTES("K\007\x94K\010\x94h\001."), PICKLE_INT, 8},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        pickle p;
        cloze_error err = {0};
        if (parse(&p, rows[i].bytes, rows[i].n, &err) != CLOZE_OK) fail_msg("%s", err.message);
        assert_int_equal(pickle_get(&p, p.root)->kind, rows[i].kind);
        assert_true(pickle_get(&p, p.root)->integer == rows[i].integer);
        assert_int_equal(p.size, rows[i].n);
        pickle_deinit(&p);
    }
    pickle p;
    assert_int_equal(parse(&p, BYTES("G\x3f\xf8\000\000\000\000\000\000.rest"), NULL), CLOZE_OK);
    assert_true(pickle_get(&p, p.root)->real == 1.5);
    assert_int_equal(p.size, 10); /* a sequence of pickles goes on behind STOP */
    pickle_deinit(&p);
}

/* {"k": (1, [2, 3]), ...} with OrderedDict called, filled, and given a state. */
static void test_containers(void **state)
{
    pickle p;
    cloze_error err = {0};
    if (parse(&p,
              BYTES("\x80\002ccollections\nOrderedDict\n)R(X\001\000\000\000kK\001](K\002K\003e\x86"
                    "U\001mC\003xyzu}X\001\000\000\000sNsb."),
              &err) != CLOZE_OK)
        fail_msg("%s", err.message);
    assert_true(pickle_is_object(&p, p.root, 1));
    assert_false(pickle_is_object(&p, p.root, 2));
    assert_int_equal(pickle_get(&p, p.root)->n_items, 4);
    assert_true(pickle_equals(&p, pickle_item(&p, p.root, 0), "k"));
    assert_false(pickle_equals(&p, pickle_item(&p, p.root, 0), "kk"));
    uint32_t tuple = pickle_item(&p, p.root, 1), bytes = pickle_item(&p, p.root, 3);
    assert_true(pickle_is(&p, tuple, PICKLE_TUPLE));
    assert_true(pickle_is(&p, bytes, PICKLE_BYTES));
    assert_memory_equal(pickle_get(&p, bytes)->text, "xyz", 3);
    int64_t values[3] = {0};
    assert_int_equal(pickle_integers(&p, pickle_item(&p, tuple, 1), values, 3), 2);
    assert_true(values[0] == 2 && values[1] == 3);
    assert_int_equal(pickle_integers(&p, pickle_item(&p, tuple, 1), values, 1), -1);
    assert_int_equal(pickle_integers(&p, tuple, values, 3), -1); /* it holds a list */
    assert_int_equal(pickle_integers(&p, bytes, values, 3), -1);
    assert_int_equal(pickle_item(&p, p.root, 4), PICKLE_NO_NODE);
    assert_false(pickle_is(&p, PICKLE_NO_NODE, PICKLE_NONE));
    assert_true(pickle_is(&p, pickle_get(&p, p.root)->state, PICKLE_DICT));
    pickle_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_containers),
    };
    return cmocka_run_group_tests_name("pickle", tests, NULL, NULL);
}
