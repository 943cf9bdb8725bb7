/* For `nodes`: what is said of values and of the variables of a frame. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_quick.h"

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

PyMethodDef quick_words[] = {
    {"write", write_values, METH_VARARGS, write_doc},
    {"write_frame", write_frame, METH_VARARGS, write_frame_doc},
    {NULL, NULL, 0, NULL},
};
