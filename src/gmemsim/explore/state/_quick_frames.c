/* For `coroutines`: suspended ones put back, and ended. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_quick.h"

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

/* Write the memory of a suspended coroutine: 1, 0 and nothing done if it has more than fits, -1 with an exception. */
static int
put_one(PyObject *coro, Py_ssize_t start, PyObject *raw, PyObject *owned, Py_ssize_t frame_at, int keeps_code)
{
    PyObject *room[256], *kept = NULL, *frame = NULL;
    Referents before = {room, 0, 256};

    if (!(PyCoro_CheckExact(coro) || PyGen_CheckExact(coro)) || !PyBytes_CheckExact(raw) ||
        !PyList_CheckExact(owned) || frame_at < 0 ||
        frame_at + (Py_ssize_t)sizeof(PyObject *) > PyBytes_GET_SIZE(raw)) {
        PyErr_SetString(PyExc_TypeError, "put_back takes images: a coroutine, its memory and what it owns");
        return -1;
    }
    if (keeps_code) {
        kept = PyObject_GetAttrString(coro, PyCoro_CheckExact(coro) ? "cr_code" : "gi_code");
        if (kept == NULL)
            return -1;
        /* The coroutine has it as well. */
        Py_DECREF(kept);
    }
    if (Py_TYPE(coro)->tp_traverse(coro, note, &before) != 0)
        return 0;
    for (Py_ssize_t i = 0; i < before.length; i++) {
        if (kept != NULL && before.at[i] == kept) {
            before.at[i] = NULL;
            kept = NULL;
        }
        else if (frame == NULL && PyFrame_Check(before.at[i])) {
            frame = before.at[i];
            before.at[i] = NULL;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(owned); i++)
        Py_INCREF(PyList_GET_ITEM(owned, i));
    memcpy((char *)coro + start, PyBytes_AS_STRING(raw), (size_t)PyBytes_GET_SIZE(raw));
    memcpy((char *)coro + start + frame_at, &frame, sizeof(frame));
    for (Py_ssize_t i = 0; i < before.length; i++)
        Py_XDECREF(before.at[i]);
    return 1;
}

PyDoc_STRVAR(put_back_doc,
"put_back(images, start, frame_at, keeps_code) -> list\n\n"
"Write the memory of suspended coroutines from `start` on, and set the reference counts right: each lets go of what it\n"
"tells the collector that it has, once each, and gets what its image has in `owned`. Its frame object, if it has one,\n"
"stays, at `frame_at`; so does its code where it keeps that without owning it. Given back are images that it is not\n"
"done for: those with copies, and those of a coroutine that has more than fits.");

static PyObject *
put_back(PyObject *module, PyObject *args)
{
    static const char *const names[] = {"coro", "raw", "owned", "copies"};
    static PyObject *words[4];
    PyObject *images, *left;
    Py_ssize_t start, frame_at;
    int keeps_code;

    if (!PyArg_ParseTuple(args, "O!nnp", &PyList_Type, &images, &start, &frame_at, &keeps_code))
        return NULL;
    for (int word = 0; word < 4; word++)
        if (words[word] == NULL && (words[word] = PyUnicode_InternFromString(names[word])) == NULL)
            return NULL;
    left = PyList_New(0);
    for (Py_ssize_t i = 0; left != NULL && i < PyList_GET_SIZE(images); i++) {
        PyObject *image = Py_NewRef(PyList_GET_ITEM(images, i)), *part[4] = {NULL};
        int done = 0;

        for (int word = 0; word < 4 && done == 0; word++)
            if ((part[word] = PyObject_GetAttr(image, words[word])) == NULL)
                done = -1;
        if (done == 0 && PyList_CheckExact(part[3]) && PyList_GET_SIZE(part[3]) == 0)
            done = put_one(part[0], start, part[1], part[2], frame_at, keeps_code);
        if (done < 0 || (done == 0 && PyList_Append(left, image) < 0))
            Py_CLEAR(left);
        for (int word = 0; word < 4; word++)
            Py_XDECREF(part[word]);
        Py_DECREF(image);
    }
    return left;
}

/* Append what an object refers to. */
static int
append(PyObject *value, void *list)
{
    return PyList_Append(list, value);
}

/* Append coroutines and generators that an object refers to. */
static int
append_running(PyObject *value, void *list)
{
    return PyCoro_CheckExact(value) || PyGen_CheckExact(value) ? PyList_Append(list, value) : 0;
}

PyDoc_STRVAR(chain_of_doc,
"chain_of(handle) -> list or None\n\n"
"A coroutine and what it awaits, outermost first; None if it awaits something else.");

static PyObject *
chain_of(PyObject *module, PyObject *handle)
{
    static PyObject *awaits, *yields;
    PyObject *found;

    if (awaits == NULL && (awaits = PyUnicode_InternFromString("cr_await")) == NULL)
        return NULL;
    if (yields == NULL && (yields = PyUnicode_InternFromString("gi_yieldfrom")) == NULL)
        return NULL;
    found = PyList_New(0);
    Py_INCREF(handle);
    while (found != NULL && handle != Py_None) {
        PyObject *name = PyCoro_CheckExact(handle) ? awaits : PyGen_CheckExact(handle) ? yields : NULL;

        if (name == NULL) {
            Py_SETREF(found, Py_NewRef(Py_None));
            break;
        }
        if (PyList_Append(found, handle) < 0)
            Py_CLEAR(found);
        else {
            Py_SETREF(handle, PyObject_GetAttr(handle, name));
            if (handle == NULL)
                Py_CLEAR(found);
        }
    }
    Py_XDECREF(handle);
    return found;
}

PyDoc_STRVAR(held_by_doc,
"held_by(chain, state_at, ended) -> list\n\n"
"Suspended coroutines and generators that are in variables of these and of each other, those apart.");

static PyObject *
held_by(PyObject *module, PyObject *args)
{
    PyObject *given, *met;
    Py_ssize_t state_at, count, kept;
    unsigned char ended;

    if (!PyArg_ParseTuple(args, "O!nb", &PyList_Type, &given, &state_at, &ended))
        return NULL;
    count = PyList_GET_SIZE(given);
    met = PyList_GetSlice(given, 0, count);
    for (Py_ssize_t i = 0; met != NULL && i < PyList_GET_SIZE(met); i++) {
        PyObject *one = PyList_GET_ITEM(met, i);

        kept = PyList_GET_SIZE(met);
        if (!(PyCoro_CheckExact(one) || PyGen_CheckExact(one))) {
            PyErr_SetString(PyExc_TypeError, "held_by takes coroutines");
            Py_CLEAR(met);
        }
        else if (Py_TYPE(one)->tp_traverse(one, append_running, met) != 0)
            Py_CLEAR(met);
        else {
            /* Of these are kept those that go on, and only once. */
            for (Py_ssize_t place = kept; place < PyList_GET_SIZE(met); place++) {
                PyObject *value = PyList_GET_ITEM(met, place);
                int known = ((unsigned char *)value)[state_at] == ended;

                for (Py_ssize_t before = 0; before < kept && !known; before++)
                    known = PyList_GET_ITEM(met, before) == value;
                if (!known) {
                    PyList_SET_ITEM(met, place, PyList_GET_ITEM(met, kept));
                    PyList_SET_ITEM(met, kept++, value);
                }
            }
            if (PyList_SetSlice(met, kept, PyList_GET_SIZE(met), NULL) < 0)
                Py_CLEAR(met);
        }
    }
    if (met != NULL && PyList_SetSlice(met, 0, count, NULL) < 0)
        Py_CLEAR(met);
    return met;
}

PyDoc_STRVAR(suspended_doc,
"suspended(coro, start, state_at, ended) -> (bytes, list) or None\n\n"
"The memory of a suspended coroutine from `start` on, and what it tells the collector that it has; None if it has ended.");

static PyObject *
suspended(PyObject *module, PyObject *args)
{
    PyObject *coro, *size, *owned;
    Py_ssize_t start, state_at, bytes;
    unsigned char ended;

    if (!PyArg_ParseTuple(args, "Onnb", &coro, &start, &state_at, &ended))
        return NULL;
    if (!(PyCoro_CheckExact(coro) || PyGen_CheckExact(coro))) {
        PyErr_SetString(PyExc_TypeError, "suspended takes a coroutine");
        return NULL;
    }
    if (((unsigned char *)coro)[state_at] == ended)
        Py_RETURN_NONE;
    size = PyObject_CallMethod(coro, "__sizeof__", NULL);
    if (size == NULL)
        return NULL;
    bytes = PyLong_AsSsize_t(size);
    Py_DECREF(size);
    if (bytes < start) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a coroutine that ends before its state");
        return NULL;
    }
    owned = PyList_New(0);
    if (owned == NULL)
        return NULL;
    if (Py_TYPE(coro)->tp_traverse(coro, append, owned) != 0) {
        Py_DECREF(owned);
        return NULL;
    }
    return Py_BuildValue("(y#N)", (char *)coro + start, bytes - start, owned);
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

PyMethodDef quick_frames[] = {
    {"chain_of", chain_of, METH_O, chain_of_doc},
    {"drop", drop, METH_VARARGS, drop_doc},
    {"held_by", held_by, METH_VARARGS, held_by_doc},
    {"put_back", put_back, METH_VARARGS, put_back_doc},
    {"suspended", suspended, METH_VARARGS, suspended_doc},
    {"unusual", unusual, METH_VARARGS, unusual_doc},
    {NULL, NULL, 0, NULL},
};
