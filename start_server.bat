@echo off
rem Start the server on Windows; the first start sets up .venv. Settings are environment variables or .env.
rem   start_server.bat --help             show the flags
rem   start_server.bat                    set up if needed, then serve
rem   set PORT=5001                       (WORKERS, THREADS, HOST, MODEL and all others likewise, before starting)
rem   set HOST=0.0.0.0 and API_KEYS=KEY   to open it to the network (without keys: ALLOW_OPEN=1)
rem   start_server.bat --install-only     set up without serving
rem   start_server.bat --join HOST:PORT   says that a machine has to run Linux, or WSL 2, to join a cluster
rem   start_server.bat -m MODEL -d 0,1 --port 8088     the flags of HiDream's start script
rem PYTHON names the interpreter to use, TORCH_INDEX_URL another package index for PyTorch.
setlocal
cd /d "%~dp0"
set "VENV_PYTHON=.venv\Scripts\python.exe"
set "BASE_PYTHON="

for %%H in (-h --help) do if /i "%~1"=="%%H" goto help
rem Not in the list above: there a question mark stands for the names of files.
if "%~1"=="/?" goto help
if not exist "%VENV_PYTHON%" goto make_environment
"%VENV_PYTHON%" tools\setup_environment.py --check
if not errorlevel 1 goto ready
"%VENV_PYTHON%" -c "import pip" >nul 2>&1
if not errorlevel 1 goto install

:make_environment
if defined PYTHON goto named_python
for %%P in ("py -3.13" "py -3.12" "py -3.11" "py -3" "python" "python3") do (
    if not defined BASE_PYTHON (
        %%~P -c "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
        if not errorlevel 1 set "BASE_PYTHON=%%~P"
    )
)
if defined BASE_PYTHON goto create
goto no_python

:named_python
"%PYTHON%" -c "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
if errorlevel 1 goto no_python
set BASE_PYTHON="%PYTHON%"

:create
echo First start: creating .venv. Installing the packages takes a few minutes, once.
%BASE_PYTHON% -m venv --clear .venv
if not errorlevel 1 goto install
echo The virtual environment .venv could not be created; the message above says why. 1>&2
exit /b 1

:no_python
echo Python 3.11 or newer was not found; install it from python.org, or name it with: set PYTHON=C:\path\to\python.exe 1>&2
exit /b 1

:install
"%VENV_PYTHON%" tools\setup_environment.py
if errorlevel 1 exit /b 1

:ready
if /i "%~1"=="--join" goto join
if /i not "%~1"=="--install-only" goto serve
echo Everything is installed in .venv; start_server.bat starts the server.
exit /b 0

:join
"%VENV_PYTHON%" -m imageserver.cluster %*
exit /b %errorlevel%

:help
type tools\start_help.txt
exit /b 0

:serve
"%VENV_PYTHON%" tools\start_flags.py %*
exit /b %errorlevel%
