/* For `heap`: which objects are not what they were, and what is new in a content. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "_quick.h"

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

PyMethodDef quick_heap[] = {
    {"changed", (PyCFunction)(void (*)(void))changed, METH_FASTCALL, changed_doc},
    {"fresh", fresh, METH_VARARGS, fresh_doc},
    {"offsets", offsets, METH_VARARGS, offsets_doc},
    {NULL, NULL, 0, NULL},
};
