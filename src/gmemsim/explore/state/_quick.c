/*
 * What `heap` and `live` do at every step of a search, without an interpreter in between: see `quick`.
 *
 * Nothing here is needed, and nothing here decides anything: `changed` names objects that have to be looked at, by
 * identity, and `heap` compares them. Only what the C interface of CPython 3.11 to 3.13 offers is used, under the GIL.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

/* Whether a content, read item by item, is what the tuple says. */
static int
same_slots(PyObject *holder, PyObject *offsets, PyObject *last, PyObject *unset)
{
    Py_ssize_t count = PyBytes_GET_SIZE(offsets) / (Py_ssize_t)sizeof(Py_ssize_t);
    const Py_ssize_t *at = (const Py_ssize_t *)PyBytes_AS_STRING(offsets);

    if (PyTuple_GET_SIZE(last) != count)
        return 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = *(PyObject **)((char *)holder + at[i]);
        if ((item == NULL ? unset : item) != PyTuple_GET_ITEM(last, i))
            return 0;
    }
    return 1;
}

static int
same_dict(PyObject *holder, PyObject *last)
{
    Py_ssize_t place = 0, i = 0;
    PyObject *key, *value;

    if (PyDict_GET_SIZE(holder) != PyTuple_GET_SIZE(last))
        return 0;
    while (PyDict_Next(holder, &place, &key, &value)) {
        PyObject *pair = PyTuple_GET_ITEM(last, i++);
        if (PyTuple_GET_ITEM(pair, 0) != key || PyTuple_GET_ITEM(pair, 1) != value)
            return 0;
    }
    return 1;
}

static int
same_cell(PyObject *holder, PyObject *last, PyObject *unset)
{
    PyObject *item = PyCell_GET(holder);

    return PyTuple_GET_SIZE(last) == 1 && (item == NULL ? unset : item) == PyTuple_GET_ITEM(last, 0);
}

static int
same_list(PyObject *holder, PyObject *last)
{
    Py_ssize_t count = PyList_GET_SIZE(holder);

    if (PyTuple_GET_SIZE(last) != count)
        return 0;
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyList_GET_ITEM(holder, i) != PyTuple_GET_ITEM(last, i))
            return 0;
    return 1;
}

/* The same of anything else, by its reader; -1 with an exception if that raised another one than AttributeError. */
static int
same_read(PyObject *reader, PyObject *target, PyObject *last)
{
    PyObject *now = PyObject_CallOneArg(reader, target);
    Py_ssize_t count;
    int same;

    if (now == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    count = PyTuple_Check(now) ? PyTuple_GET_SIZE(now) : -1;
    same = count == PyTuple_GET_SIZE(last);
    for (Py_ssize_t i = 0; same && i < count; i++)
        same = PyTuple_GET_ITEM(now, i) == PyTuple_GET_ITEM(last, i);
    Py_DECREF(now);
    return same;
}

PyDoc_STRVAR(changed_doc,
"changed(holders, ways, readers, targets, last, unset) -> list of int\n\n"
"Places at which a content is not, object by object, what `last` has. A way is the offsets of the slots as bytes,\n"
"`dict`, `list`, `CellType`, or None: then the reader is called with the target. What is empty is `unset`.");

static PyObject *
changed(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 6) {
        PyErr_SetString(PyExc_TypeError, "changed takes six arguments");
        return NULL;
    }
    PyObject *holders = args[0], *ways = args[1], *readers = args[2], *targets = args[3], *last = args[4];
    Py_ssize_t count;
    PyObject *places;

    for (int i = 0; i < 5; i++)
        if (!PyList_CheckExact(args[i]) || PyList_GET_SIZE(args[i]) != PyList_GET_SIZE(args[0])) {
            PyErr_SetString(PyExc_TypeError, "changed takes five lists of one length");
            return NULL;
        }
    count = PyList_GET_SIZE(holders);
    places = PyList_New(0);
    if (places == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count && i < PyList_GET_SIZE(holders); i++) {
        PyObject *holder = PyList_GET_ITEM(holders, i), *way = PyList_GET_ITEM(ways, i);
        PyObject *before = PyList_GET_ITEM(last, i);
        int same;

        if (PyBytes_CheckExact(way))
            same = same_slots(holder, way, before, args[5]);
        else if (way == (PyObject *)&PyDict_Type)
            same = same_dict(holder, before);
        else if (way == (PyObject *)&PyList_Type)
            same = same_list(holder, before);
        else if (way == (PyObject *)&PyCell_Type)
            same = same_cell(holder, before, args[5]);
        else
            same = same_read(PyList_GET_ITEM(readers, i), PyList_GET_ITEM(targets, i), before);
        if (same < 0)
            goto failed;
        if (!same) {
            PyObject *place = PyLong_FromSsize_t(i);
            int failed = place == NULL || PyList_Append(places, place) < 0;
            Py_XDECREF(place);
            if (failed)
                goto failed;
        }
    }
    return places;
failed:
    Py_DECREF(places);
    return NULL;
}

PyDoc_STRVAR(offsets_doc,
"offsets(class, names) -> bytes or None\n\n"
"Where the slots of that names lie in an object of the class; None if one of them is no slot with an object.");

static PyObject *
offsets(PyObject *module, PyObject *args)
{
    PyTypeObject *type;
    PyObject *names, *found;
    Py_ssize_t count;

    if (!PyArg_ParseTuple(args, "O!O!", &PyType_Type, &type, &PyTuple_Type, &names))
        return NULL;
    count = PyTuple_GET_SIZE(names);
    found = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(Py_ssize_t));
    if (found == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *slot = _PyType_Lookup(type, PyTuple_GET_ITEM(names, i));
        PyMemberDef *member = NULL;

        if (slot != NULL && Py_IS_TYPE(slot, &PyMemberDescr_Type))
            member = ((PyMemberDescrObject *)slot)->d_member;
        if (member == NULL || (member->type != T_OBJECT_EX && member->type != T_OBJECT)) {
            Py_DECREF(found);
            Py_RETURN_NONE;
        }
        ((Py_ssize_t *)PyBytes_AS_STRING(found))[i] = member->offset;
    }
    return found;
}

/* A row of numbers that grows. */
typedef struct {
    long long *at;
    Py_ssize_t length, room;
} Row;

static int
push(Row *row, long long value)
{
    if (row->length == row->room) {
        Py_ssize_t room = row->room ? 2 * row->room : 1024;
        long long *at = PyMem_Realloc(row->at, (size_t)room * sizeof(long long));
        if (at == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        row->at = at;
        row->room = room;
    }
    row->at[row->length++] = value;
    return 0;
}

static PyObject *
row_bytes(const Row *row)
{
    return PyBytes_FromStringAndSize((const char *)row->at, row->length * (Py_ssize_t)sizeof(long long));
}

/* The text of a node, which is a tuple with the number of it first; -1 with an exception if it is none. */
static long long
text_of(PyObject *known, PyObject *number, Py_ssize_t *index)
{
    PyObject *node = NULL;

    *index = PyLong_AsSsize_t(number);
    if (*index >= 0 && *index < PyList_GET_SIZE(known))
        node = PyList_GET_ITEM(known, *index);
    if (node == NULL || !PyTuple_Check(node) || PyTuple_GET_SIZE(node) < 1) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_LookupError, "a node that is not known");
        return -1;
    }
    return PyLong_AsLongLong(PyTuple_GET_ITEM(node, 0));
}

PyDoc_STRVAR(texts_doc,
"texts(known, numbers, behind) -> bytes\n\n"
"The texts of these nodes, then of those of each list in `behind`, eight bytes each. Behind one that an earlier list of\n"
"`behind` has too come -2, the number of that list, and the place in it.");

static PyObject *
texts(PyObject *module, PyObject *args)
{
    PyObject *known, *numbers, *behind, *result = NULL;
    Row out = {NULL, 0, 0};
    long long *first = NULL;
    Py_ssize_t index, lists;

    if (!PyArg_ParseTuple(args, "O!O!O!", &PyList_Type, &known, &PyList_Type, &numbers, &PyList_Type, &behind))
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(numbers); i++) {
        long long text = text_of(known, PyList_GET_ITEM(numbers, i), &index);
        if ((text == -1 && PyErr_Occurred()) || push(&out, text) < 0)
            goto out;
    }
    /* By number: 0, or the list that had it first and the place there. */
    first = PyMem_Calloc((size_t)PyList_GET_SIZE(known) + 1, sizeof(long long));
    if (first == NULL) {
        PyErr_NoMemory();
        goto out;
    }
    lists = PyList_GET_SIZE(behind);
    for (Py_ssize_t list = 0; list < lists; list++) {
        PyObject *nodes = PyList_GET_ITEM(behind, list);
        if (!PyList_CheckExact(nodes)) {
            PyErr_SetString(PyExc_TypeError, "behind is a list of lists");
            goto out;
        }
        for (Py_ssize_t at = 0; at < PyList_GET_SIZE(nodes); at++) {
            long long text = text_of(known, PyList_GET_ITEM(nodes, at), &index);
            if ((text == -1 && PyErr_Occurred()) || push(&out, text) < 0)
                goto out;
            if (first[index] == 0)
                first[index] = 1 + list + lists * at;
            else if ((first[index] - 1) % lists != list &&
                     (push(&out, -2) < 0 || push(&out, (first[index] - 1) % lists) < 0 ||
                      push(&out, (first[index] - 1) / lists) < 0))
                goto out;
        }
    }
    result = row_bytes(&out);
out:
    PyMem_Free(first);
    PyMem_Free(out.at);
    return result;
}

/* The place of a number in one of two dicts; -1: in none of them, -2 with an exception. */
static long long
place_of(PyObject *number, PyObject *before, PyObject *place)
{
    PyObject *found = PyDict_GetItemWithError(before, number);

    if (found == NULL && !PyErr_Occurred())
        found = PyDict_GetItemWithError(place, number);
    if (found == NULL)
        return PyErr_Occurred() ? -2 : -1;
    return PyLong_AsLongLong(found);
}

PyDoc_STRVAR(meet_doc,
"meet(start, before, place, known, work_out) -> (list of int, bytes)\n\n"
"The nodes behind `start`, depth first, that are not in `before`, put into `place`; and how they hang together: for\n"
"each reference the place that it leads to, -1 for a new one, eight bytes each. `work_out` is called with the number\n"
"of a node that is not known.");

static PyObject *
meet(PyObject *module, PyObject *args)
{
    PyObject *start, *before, *place, *known, *work_out, *stack, *nodes, *result = NULL;
    Row shape = {NULL, 0, 0};
    Py_ssize_t base;

    if (!PyArg_ParseTuple(args, "O!O!O!O!O", &PyList_Type, &start, &PyDict_Type, &before, &PyDict_Type, &place,
                          &PyList_Type, &known, &work_out))
        return NULL;
    base = PyDict_GET_SIZE(before);
    nodes = PyList_New(0);
    stack = PyList_GetSlice(start, 0, PyList_GET_SIZE(start));
    if (nodes == NULL || stack == NULL || PyList_Reverse(stack) < 0)
        goto out;
    while (PyList_GET_SIZE(stack) > 0) {
        Py_ssize_t top = PyList_GET_SIZE(stack) - 1;
        PyObject *number = Py_NewRef(PyList_GET_ITEM(stack, top)), *value, *node, *refers;
        Py_ssize_t index;
        long long at;

        if (PyList_SetSlice(stack, top, top + 1, NULL) < 0) {
            Py_DECREF(number);
            goto out;
        }
        at = place_of(number, before, place);
        if (at != -1) {
            Py_DECREF(number);
            if (at == -2 || push(&shape, at) < 0)
                goto out;
            continue;
        }
        value = PyLong_FromSsize_t(base + PyList_GET_SIZE(nodes));
        if (value == NULL || PyDict_SetItem(place, number, value) < 0 || PyList_Append(nodes, number) < 0 ||
            push(&shape, -1) < 0) {
            Py_XDECREF(value);
            Py_DECREF(number);
            goto out;
        }
        Py_DECREF(value);
        index = PyLong_AsSsize_t(number);
        if (index < 0 || index >= PyList_GET_SIZE(known)) {
            PyErr_SetString(PyExc_LookupError, "a number of no object");
            Py_DECREF(number);
            goto out;
        }
        node = Py_NewRef(PyList_GET_ITEM(known, index));
        if (node == Py_None)
            Py_SETREF(node, PyObject_CallOneArg(work_out, number));
        Py_DECREF(number);
        if (node == NULL)
            goto out;
        refers = PyTuple_Check(node) && PyTuple_GET_SIZE(node) > 1 ? PyTuple_GET_ITEM(node, 1) : NULL;
        if (refers == NULL || !PyTuple_CheckExact(refers)) {
            PyErr_SetString(PyExc_TypeError, "a node is a text and a tuple of references");
            Py_DECREF(node);
            goto out;
        }
        for (Py_ssize_t i = PyTuple_GET_SIZE(refers) - 1; i >= 0; i--)
            if (PyList_Append(stack, PyTuple_GET_ITEM(refers, i)) < 0) {
                Py_DECREF(node);
                goto out;
            }
        Py_DECREF(node);
    }
    result = Py_BuildValue("(ON)", nodes, row_bytes(&shape));
out:
    Py_XDECREF(nodes);
    Py_XDECREF(stack);
    PyMem_Free(shape.at);
    return result;
}

/* Whether values of a class are written as Python shows them. */
static int
is_plain(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return value == Py_None || type == &PyLong_Type || type == &PyUnicode_Type || type == &PyBool_Type;
}

/* Append a text that is ours to give away. */
static int
append_new(PyObject *out, PyObject *text)
{
    int failed = text == NULL || PyList_Append(out, text) < 0;
    Py_XDECREF(text);
    return failed ? -1 : 0;
}

/* Write an object as a reference if it has a number: 1, 0 if it has none, -1 with an exception. */
static int
refer(PyObject *value, PyObject *numbers, PyObject *out, PyObject *refers)
{
    PyObject *address = PyLong_FromVoidPtr(value), *number;

    if (address == NULL)
        return -1;
    number = PyDict_GetItemWithError(numbers, address);
    Py_DECREF(address);
    if (number == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (append_new(out, PyUnicode_FromString("#")) < 0 || PyList_Append(refers, number) < 0)
        return -1;
    return 1;
}

/* What is neither plain nor a reference is written by Python. */
static int
write_other(PyObject *other, PyObject *value)
{
    PyObject *done = PyObject_CallOneArg(other, value);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

PyDoc_STRVAR(write_doc,
"write(values, out, refers, numbers, words, other)\n\n"
"Append what is said of values to `out`: plain ones as they are shown, those with a number as '#' with the number to\n"
"`refers`. Of classes in `words`, and of all others, `other` is called with the value.");

static PyObject *
write_values(PyObject *module, PyObject *args)
{
    PyObject *given, *values, *out, *refers, *numbers, *words, *other;

    if (!PyArg_ParseTuple(args, "OO!O!O!O!O", &given, &PyList_Type, &out, &PyList_Type, &refers, &PyDict_Type, &numbers,
                          &PyTuple_Type, &words, &other))
        return NULL;
    values = PySequence_Fast(given, "expected values");
    if (values == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(values); i++) {
        PyObject *value = PySequence_Fast_GET_ITEM(values, i);
        int found = 0;

        if (is_plain(value)) {
            if (append_new(out, PyObject_Repr(value)) < 0)
                goto failed;
            continue;
        }
        for (Py_ssize_t word = 0; word < PyTuple_GET_SIZE(words) && !found; word++)
            found = (PyObject *)Py_TYPE(value) == PyTuple_GET_ITEM(words, word);
        found = found ? 0 : refer(value, numbers, out, refers);
        if (found < 0 || (!found && write_other(other, value) < 0))
            goto failed;
    }
    Py_DECREF(values);
    Py_RETURN_NONE;
failed:
    Py_DECREF(values);
    return NULL;
}

PyDoc_STRVAR(write_frame_doc,
"write_frame(words, skip, out, refers, numbers, other, owned)\n\n"
"The same of a frame: `words` are the addresses of its variables, eight bytes each, 0 for none; `owned` holds what\n"
"lies there. Places in `skip` are left out.");

static PyObject *
write_frame(PyObject *module, PyObject *args)
{
    PyObject *skip, *out, *refers, *numbers, *other, *owned;
    Py_buffer words;
    int failed = 0;

    if (!PyArg_ParseTuple(args, "y*O!O!O!O!OO!", &words, &PyFrozenSet_Type, &skip, &PyList_Type, &out, &PyList_Type,
                          &refers, &PyDict_Type, &numbers, &other, &PyList_Type, &owned))
        return NULL;
    for (Py_ssize_t i = 0; !failed && i < words.len / (Py_ssize_t)sizeof(PyObject *); i++) {
        PyObject *value;

        memcpy(&value, (char *)words.buf + i * (Py_ssize_t)sizeof(value), sizeof(value));
        if (PySet_GET_SIZE(skip)) {
            PyObject *place = PyLong_FromSsize_t(i);
            int left_out = place == NULL ? -1 : PySet_Contains(skip, place);
            Py_XDECREF(place);
            failed = left_out < 0;
            if (left_out)
                continue;
        }
        if (value == NULL)
            failed = append_new(out, PyUnicode_FromString("-")) < 0;
        else if (is_plain(value))
            failed = append_new(out, PyObject_Repr(value)) < 0;
        else {
            int found = refer(value, numbers, out, refers);
            failed = found < 0 || (!found && write_other(other, value) < 0);
        }
    }
    PyBuffer_Release(&words);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fresh_doc,
"fresh(content, pairs, classes, numbers) -> list\n\n"
"The values of a tuple, or of the pairs in it, whose class is not in the set and that have no number.");

static PyObject *
fresh(PyObject *module, PyObject *args)
{
    PyObject *content, *classes, *numbers, *found;
    int pairs;

    if (!PyArg_ParseTuple(args, "O!pO!O!", &PyTuple_Type, &content, &pairs, &PySet_Type, &classes, &PyDict_Type,
                          &numbers))
        return NULL;
    found = PyList_New(0);
    for (Py_ssize_t i = 0; found != NULL && i < PyTuple_GET_SIZE(content); i++) {
        PyObject *part = PyTuple_GET_ITEM(content, i);

        for (Py_ssize_t side = 0; found != NULL && side < (pairs ? 2 : 1); side++) {
            PyObject *value = pairs ? PyTuple_GET_ITEM(part, side) : part;
            int known = PySet_Contains(classes, (PyObject *)Py_TYPE(value));

            if (known == 0) {
                PyObject *address = PyLong_FromVoidPtr(value);
                known = address == NULL ? -1 : PyDict_Contains(numbers, address);
                Py_XDECREF(address);
            }
            if (known < 0 || (!known && PyList_Append(found, value) < 0))
                Py_CLEAR(found);
        }
    }
    return found;
}

PyDoc_STRVAR(unusual_doc,
"unusual(values, classes) -> list\n\n"
"The values whose class is not in the set.");

static PyObject *
unusual(PyObject *module, PyObject *args)
{
    PyObject *values, *classes, *found;

    if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &values, &PySet_Type, &classes))
        return NULL;
    found = PyList_New(0);
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(values); i++) {
        PyObject *value = PyList_GET_ITEM(values, i);
        int usual = PySet_Contains(classes, (PyObject *)Py_TYPE(value));
        if (usual < 0 || (!usual && PyList_Append(found, value) < 0))
            Py_CLEAR(found);
    }
    return found;
}

/* What an object tells the collector that it refers to. */
typedef struct {
    PyObject **at;
    Py_ssize_t length, room;
} Referents;

static int
note(PyObject *value, void *data)
{
    Referents *found = data;
    if (found->length == found->room)
        return -1;
    found->at[found->length++] = value;
    return 0;
}

PyDoc_STRVAR(put_back_doc,
"put_back(coro, start, raw, owned, frame_at, kept) -> bool\n\n"
"Write the memory of a suspended coroutine from `start` on, and set the reference counts right: it lets go of what it\n"
"tells the collector that it has, once each, and gets what is in `owned`. Its frame object, if it has one, stays, at\n"
"`frame_at` in `raw`; so does `kept`, which it does not own. False, and nothing done, if it has more than fits.");

static PyObject *
put_back(PyObject *module, PyObject *args)
{
    PyObject *coro, *owned, *kept, *frame = NULL;
    PyObject *room[256];
    Referents before = {room, 0, 256};
    Py_ssize_t start, frame_at;
    Py_buffer raw;

    if (!PyArg_ParseTuple(args, "Ony*O!nO", &coro, &start, &raw, &PyList_Type, &owned, &frame_at, &kept))
        return NULL;
    if (!(PyCoro_CheckExact(coro) || PyGen_CheckExact(coro)) || frame_at < 0 ||
        frame_at + (Py_ssize_t)sizeof(PyObject *) > raw.len) {
        PyBuffer_Release(&raw);
        PyErr_SetString(PyExc_TypeError, "put_back takes a coroutine and its memory");
        return NULL;
    }
    if (Py_TYPE(coro)->tp_traverse(coro, note, &before) != 0) {
        PyBuffer_Release(&raw);
        Py_RETURN_FALSE;
    }
    for (Py_ssize_t i = 0; i < before.length; i++) {
        if (before.at[i] == kept && kept != Py_None) {
            before.at[i] = NULL;
            kept = Py_None;
        }
        else if (frame == NULL && PyFrame_Check(before.at[i])) {
            frame = before.at[i];
            before.at[i] = NULL;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(owned); i++)
        Py_INCREF(PyList_GET_ITEM(owned, i));
    memcpy((char *)coro + start, raw.buf, (size_t)raw.len);
    memcpy((char *)coro + start + frame_at, &frame, sizeof(frame));
    PyBuffer_Release(&raw);
    for (Py_ssize_t i = 0; i < before.length; i++)
        Py_XDECREF(before.at[i]);
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(drop_doc,
"drop(coro, state_at, ended) -> bool\n\n"
"Mark a suspended coroutine as ended and let go of what it has, without running any of it. Where somebody else has its\n"
"frame object, which lies in it, both stay. False, and nothing done, if it has more than fits.");

static PyObject *
drop(PyObject *module, PyObject *args)
{
    PyObject *coro;
    PyObject *had[256], *has[256];
    Referents before = {had, 0, 256}, after = {has, 0, 256};
    Py_ssize_t state_at;
    unsigned char ended;

    if (!PyArg_ParseTuple(args, "Onb", &coro, &state_at, &ended))
        return NULL;
    if (!(PyCoro_CheckExact(coro) || PyGen_CheckExact(coro))) {
        PyErr_SetString(PyExc_TypeError, "drop takes a coroutine");
        return NULL;
    }
    if (Py_TYPE(coro)->tp_traverse(coro, note, &before) != 0)
        Py_RETURN_FALSE;
    for (Py_ssize_t i = 0; i < before.length; i++)
        if (PyFrame_Check(had[i]) && Py_REFCNT(had[i]) > 1)
            Py_INCREF(coro);
    ((unsigned char *)coro)[state_at] = ended;
    if (Py_TYPE(coro)->tp_traverse(coro, note, &after) != 0)
        Py_UNREACHABLE();
    for (Py_ssize_t i = 0; i < after.length; i++)
        Py_INCREF(has[i]);
    for (Py_ssize_t i = 0; i < before.length; i++)
        Py_DECREF(had[i]);
    Py_RETURN_TRUE;
}

static PyMethodDef methods[] = {
    {"drop", drop, METH_VARARGS, drop_doc},
    {"fresh", fresh, METH_VARARGS, fresh_doc},
    {"put_back", put_back, METH_VARARGS, put_back_doc},
    {"unusual", unusual, METH_VARARGS, unusual_doc},
    {"write", write_values, METH_VARARGS, write_doc},
    {"write_frame", write_frame, METH_VARARGS, write_frame_doc},
    {"changed", (PyCFunction)(void (*)(void))changed, METH_FASTCALL, changed_doc},
    {"offsets", offsets, METH_VARARGS, offsets_doc},
    {"texts", texts, METH_VARARGS, texts_doc},
    {"meet", meet, METH_VARARGS, meet_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_quick", "See gmemsim.explore.state.quick.", -1, methods, NULL, NULL, NULL, NULL,
};

/* Digest of this file, given by `compile`, so that one compiled from another text is not taken for it. */
#ifndef SOURCE
#define SOURCE ""
#endif

PyMODINIT_FUNC
PyInit__quick(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module != NULL && PyModule_AddStringConstant(module, "SOURCE", SOURCE) < 0)
        Py_CLEAR(module);
    return module;
}
