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

PyMethodDef quick_frames[] = {
    {"drop", drop, METH_VARARGS, drop_doc},
    {"put_back", put_back, METH_VARARGS, put_back_doc},
    {"unusual", unusual, METH_VARARGS, unusual_doc},
    {NULL, NULL, 0, NULL},
};
