import threading

interrupt_processing_mutex = threading.RLock()
interrupt_processing = False
unloaded = 0


class InterruptProcessingException(Exception):
    pass


def interrupt_current_processing(value=True):
    global interrupt_processing
    with interrupt_processing_mutex:
        interrupt_processing = value


def throw_exception_if_processing_interrupted():
    global interrupt_processing
    with interrupt_processing_mutex:
        if interrupt_processing:
            interrupt_processing = False
            raise InterruptProcessingException


def get_torch_device():
    return "cpu"


def get_torch_device_name(device):
    return f"{device} of a stand-in"


def unload_all_models():
    print("all models are unloaded", flush=True)


def soft_empty_cache():
    pass
