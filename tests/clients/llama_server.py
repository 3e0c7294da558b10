"""llama_server.py MODEL: llama.cpp's own HTTP server on a free port of 127.0.0.1, until it is ended.

Says its address once it has loaded the model.
"""

import sys
import threading

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
parameters.n_ctx = 2048
parameters.n_parallel = 1
parameters.n_predict = 24
# Its words are the same each time, and it does not begin with the end.
parameters.sampling.temp = 0.0
parameters.sampling.ignore_eos = True
parameters.warmup = False
parameters.cpuparams.n_threads = 1
server = xllamacpp.Server(parameters)
print("listening at", server.listening_address, flush=True)
threading.Event().wait()
