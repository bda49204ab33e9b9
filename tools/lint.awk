# Checks of single C files for tools/lint: includes between rooms, lengths, banned calls, layout.
# Strings and comments are blanked first, so that only code is judged.

BEGIN {
    # Which rooms a room may include, itself aside. The arrows are those of docs/DESIGN.md and are
    # closed here: a room may use what its rooms may use.
    direct["base"] = ""
    direct["tensor"] = "base"
    direct["backend"] = "tensor"
    direct["autograd"] = "backend"
    direct["nn"] = "autograd"
    direct["ckpt"] = "tensor"
    direct["text"] = "base"
    direct["model"] = "nn ckpt"
    direct["tune"] = "model"
    direct["prompt"] = "text"
    direct["train"] = "model tune prompt"
    direct["deploy"] = "train"
    direct["api"] = "deploy"
    for (room in direct) close_over(room, room)

    MAX_COLUMNS = 110
    FUNCTION_WARN = 80
    FUNCTION_MAX = 120
    FILE_MAX = 1200
    HEAP = "malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|free|strdup|strndup"
    OUTPUT = "abort|exit|quick_exit|printf|vprintf|puts|putchar|perror"
    UNSAFE = "strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof"
}

function close_over(top, room,    parts, n, i) {
    n = split(direct[room], parts, " ")
    for (i = 1; i <= n; i++) {
        may[top, parts[i]] = 1
        close_over(top, parts[i])
    }
}

function finding(text) { print FILENAME ":" FNR ": " text }

# The line without comments, and with empty strings; remembers an open comment in in_comment.
function code_of(line,    out, rest, token) {
    rest = line
    while (rest != "") {
        if (in_comment) {
            if (!match(rest, /\*\//)) return out
            rest = substr(rest, RSTART + 2)
            in_comment = 0
            continue
        }
        if (!match(rest, /\/\*|\/\/|"([^"\\]|\\.)*"|'([^'\\]|\\.)+'/)) return out rest
        token = substr(rest, RSTART, RLENGTH)
        out = out substr(rest, 1, RSTART - 1)
        rest = substr(rest, RSTART + RLENGTH)
        if (token == "//") return out
        if (token == "/*") in_comment = 1
        else out = out substr(token, 1, 1) substr(token, 1, 1)
    }
    return out
}

# A call of one of the names, which stands alone: no member, no longer name.
function calls(code, names) { return match(code, "(^|[^A-Za-z0-9_.>])(" names ")[ ]*\\(") }

function room_of(file,    parts) {
    return split(file, parts, "/") > 2 && parts[1] == "src" ? parts[2] : ""
}

function beside(name,    path, line, there) {
    path = FILENAME
    sub(/[^\/]*$/, "", path)
    there = (getline line < (path name)) >= 0
    close(path name)
    return there
}

function check_quoted_include(name,    target) {
    if (name == "cloze.h") return
    if (name !~ /\//) {
        if (!beside(name)) finding("\"" name "\" is neither beside this file nor cloze.h; name its room")
        return
    }
    target = substr(name, 1, index(name, "/") - 1)
    if (FILENAME ~ /^(apps|bench)\//) {
        if (target in direct) finding("apps and benchmarks use cloze.h only, not \"" name "\"")
    } else if (room != "" && target != room && !((room, target) in may)) {
        finding("room " room " must not use \"" name "\"")
    }
}

function check_include(line,    name) {
    if (match(line, /"[^"]+"/)) check_quoted_include(substr(line, RSTART + 1, RLENGTH - 2))
    if (line ~ /[<"\/]dnnl/ && FILENAME !~ /^src\/backend\/cpu\/onednn|^bench\/limit/)
        finding("oneDNN belongs to src/backend/cpu/onednn* alone")
    if (line ~ /[<"]cjson\// && FILENAME !~ /^src\/base\/json\.[ch]$|^(apps|bench)\//)
        finding("cJSON comes through base/json.h")
}

function check_calls(code) {
    if (calls(code, UNSAFE)) finding("unsafe call: " substr(code, RSTART, RLENGTH) "...)")
    if (room == "") return
    if (FILENAME !~ /^src\/base\// && calls(code, HEAP))
        finding("memory comes from base/mem.h: " substr(code, RSTART, RLENGTH) "...)")
    if (calls(code, OUTPUT) || code ~ /(^|[^A-Za-z0-9_])(stdout|stderr)([^A-Za-z0-9_]|$)/)
        finding("the library never prints or ends the process")
}

function check_layout(line,    columns) {
    if (index(line, "\t")) finding("a tab")
    if (line ~ /[ \r]$/) finding("blanks at the end of the line")
    columns = line
    gsub(/[\200-\277]/, "", columns) # bytes that continue a UTF-8 character
    if (length(columns) > MAX_COLUMNS) finding(length(columns) " columns, more than " MAX_COLUMNS)
}

# A definition begins in the first column, holds a parenthesis and opens a brace at a line's end.
function check_function(code) {
    if (in_function) {
        if (code !~ /^}/) return
        in_function = 0
        count = FNR - function_start + 1
        if (count > FUNCTION_MAX) finding("a function of " count " lines, more than " FUNCTION_MAX)
        else if (count > FUNCTION_WARN) finding("warning: a function of " count " lines")
        return
    }
    if (code ~ /^[A-Za-z_]/ && code !~ /[;:]$/) {
        if (!signature) function_start = FNR
        signature = 1
    }
    if (signature && code ~ /\{[ ]*$/ && (code ~ /\)/ || code ~ /^\{/)) {
        in_function = 1
        signature = 0
    } else if (code ~ /[;}][ ]*$/ || code == "") {
        signature = 0
    }
}

function end_file() {
    if (last_file != "" && last_line > FILE_MAX)
        print last_file ":" last_line ": more than " FILE_MAX " lines"
}

FNR == 1 {
    end_file()
    in_comment = in_function = signature = continued = 0
    room = room_of(FILENAME)
}
{
    last_file = FILENAME
    last_line = FNR
    check_layout($0)
    code = code_of($0)
    if (code ~ /^[ ]*#[ ]*include/) check_include($0)
    else check_calls(code)
    if (!continued && code !~ /^[ ]*#/) check_function(code)
    continued = (continued || code ~ /^[ ]*#/) && $0 ~ /\\$/
}
END { end_file() }
